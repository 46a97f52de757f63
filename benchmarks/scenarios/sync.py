"""What a fresh token costs clients without an event loop, and what many threads spend on logins and renewals."""

from __future__ import annotations

import time

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.bench import OVER, Scale, undisturbed
from benchmarks.contenders import Setup
from benchmarks.field import FLOOR, LEAN, OWN, PEERS
from benchmarks.figures import Sample, rotated, samples
from benchmarks.on_sync import SYNC
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, ratio, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contenders import SyncContender, SyncSession


#: Many short rounds, as those that something disturbs are then few.
_ROUNDS: Final = 60
_ATTACHED: Final = 300
_SENT: Final = 20
_COLD: Final = 8
_EACH: Final = 20
_CROWD: Final = 50
_LIFETIME: Final = 900.0
#: Seconds until the server looks at a request with a revoked token.
_RESOURCE: Final = 0.05
_OK: Final = 200
#: The floor of each contender's HTTP library.
_FLOOR_OF: Final = {
    one.name: next(each.name for each in SYNC if each.library == one.library) for one in SYNC
}


@attrs.frozen(kw_only=True)
class Threads:
    """What several threads spent: exchanges with the token endpoints, and requests that *failed*."""

    requests: int
    exchanges: int
    failed: int


def run(scale: Scale) -> Section:
    """Run the scenario."""
    rivals = [one for one in SYNC if one.kind != "floor"]
    with Service() as service:
        alone, whole = _costs(service, scale)
        cold, revoked = (
            {one.name: _threads(service, one, scale.login, revoke=revoke) for one in rivals}
            for revoke in (False, True)
        )
    over = {name: one.over(whole[_FLOOR_OF[name]]) for name, one in whole.items()}
    cold_case = f"{_COLD} threads without a token, {_COLD * _EACH} requests"
    revoked_case = f"{_CROWD} threads with a token that was revoked"
    return Section(
        name="sync",
        title="Sync callers",
        about=(
            "The auth alone: a fresh token is put on one request, as the client has it done, and a canned 200 is "
            "handed back. A whole request is a POST to the sandbox, in another process. Times are processor time of "
            "the client. google-auth and azure-core send with requests; the floor there is a header of the session. "
            f"Threads share one client; a login or a renewal takes {scale.login * 1000:.0f} ms."
        ),
        tables=(
            Table(
                "A fresh token",
                ("client", "the auth alone, µs", "a whole request, µs", "over its own library's"),
                tuple(
                    (
                        name,
                        spread(alone[name].scaled(1e6)) if name in alone else "",
                        spread(one.scaled(1e6), 0),
                        ratio(one, whole[_FLOOR_OF[name]], 3),
                    )
                    for name, one in whole.items()
                ),
            ),
            _table(cold_case, cold),
            _table(revoked_case, revoked),
        ),
        claims=(
            Claim(
                "the sync auth alone, times the static header",
                alone[OWN].over(alone[FLOOR]).median,
                1.3,
            ),
            Claim("a whole sync request, times the static header", over[OWN].median, 1.05),
            Claim(f"logins of {_COLD} threads", cold[OWN].exchanges, 1),
            Claim(f"renewals of {_CROWD} threads", revoked[OWN].exchanges, 1),
            Claim("requests of threads that failed", cold[OWN].failed + revoked[OWN].failed, 0),
        ),
        summary=(
            Row(
                "a whole sync request, over its HTTP library's static header",
                {name: f"{one.median:.2f}" for name, one in over.items()},
            ),
            _row(cold_case, cold),
            _row(revoked_case, revoked),
        ),
        remarks=(
            (
                f"Compared with the leanest possible auth, a `sync_auth_flow` of two statements, taxizer_async takes "
                f"{alone[OWN].over(alone[LEAN]).median:.2f} times as much alone: it compares the origin and reads a "
                "clock besides."
            ),
            peers_ahead(
                alone,
                OWN,
                PEERS,
                "This is for the auth alone. They compare no origins and note no accepted token; a policy in a pipeline "
                "has no generator to be driven, either.",
            ),
            (
                "Authlib's sync client has no lock: threads that shared one would send the same refresh token, which "
                "works once, so each has its own. azure-core and google-auth have none either, and httpx-auth has one "
                "under which it does not look again, so each thread logs in. Authlib, httpx-auth and azure-core hand "
                "the 401s to their callers."
            ),
        ),
    )


def _table(caption: str, found: dict[str, Threads]) -> Table:
    rows = tuple(
        (name, f"{one.exchanges}", f"{one.failed} of {one.requests}") for name, one in found.items()
    )
    return Table(caption, ("client", "logins and renewals", "failed"), rows)


def _row(case: str, found: dict[str, Threads]) -> Row:
    return Row(
        f"{case}: logins and renewals; failed",
        {name: f"{one.exchanges}; {one.failed}" for name, one in found.items()},
    )


def _costs(service: Service, scale: Scale) -> tuple[dict[str, Sample], dict[str, Sample]]:
    alone, whole = [], []
    with ExitStack() as stack:
        sessions = {
            one.name: stack.enter_context(one.open(Setup(target=service.open(one.name).target)))
            for one in SYNC
        }
        attaching = {name: one.attach for name, one in sessions.items() if one.attach is not None}
        for one in sessions.values():
            _count_failed(one, 1)
        for number in range(scale.of(_ROUNDS)):
            alone.append(
                {
                    name: _timed(attaching[name], _ATTACHED)
                    for name in rotated(list(attaching), number)
                }
            )
            whole.append(
                {
                    name: _timed(sessions[name].request, _SENT)
                    for name in rotated(list(sessions), number)
                }
            )
    return _in_order(alone), _in_order(whole)


def _in_order(rounds: list[dict[str, float]]) -> dict[str, Sample]:
    return samples(
        [{one.name: found[one.name] for one in SYNC if one.name in found} for found in rounds]
    )


def _timed(call: Callable[[], object], number: int) -> float:
    """Return the processor's seconds that *call* takes, *number* times in a row."""
    with undisturbed():
        began = time.process_time()
        for _ in range(number):
            call()
        return (time.process_time() - began) / number


def _threads(service: Service, one: SyncContender, login: float, *, revoke: bool) -> Threads:
    threads, each = (_CROWD, 1) if revoke else (_COLD, _EACH)
    site = service.open(f"{one.name} {revoke}", lifetime=_LIFETIME if revoke else OVER)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(one.open(Setup(target=site.target)))
            for _ in range(1 if one.shared else threads)
        ]
        if revoke:
            for session in opened:
                _count_failed(session, 1)
            # The threads send before the first answer.
            site.set(resource_latency=_RESOURCE)
            site.revoke()
        site.set(lifetime=_LIFETIME, connect_latency=login, refresh_latency=login)
        site.reset()
        with ThreadPoolExecutor(threads) as pool:
            work = [
                pool.submit(_count_failed, opened[number % len(opened)], each)
                for number in range(threads)
            ]
            failed = sum(one.result() for one in work)
    return Threads(requests=threads * each, exchanges=site.counters()["exchanges"], failed=failed)


def _count_failed(session: SyncSession, number: int) -> int:
    """Send *number* requests; return how many failed."""
    failed = 0
    for _ in range(number):
        try:
            failed += session.request() != _OK
        except Exception:  # noqa: BLE001 - each library has errors of its own
            failed += 1
    return failed
