"""What a fresh token costs `httpx.Client`, and what many threads spend on logins and renewals."""

from __future__ import annotations

import time

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import attrs
import httpx

from benchmarks.bench import Scale, undisturbed
from benchmarks.contenders import BODY, JSON, PATH, TIMEOUT, Setup
from benchmarks.figures import rotated, samples
from benchmarks.on_httpx import LeanHeader, StaticHeader, own_auth
from benchmarks.report import Claim, Section, Table, ratio, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Sample
    from benchmarks.service import Site


OWN: Final = "taxizer_async"
FLOOR: Final = "static header"
LEAN: Final = "static header, leanest"
#: Many short rounds, as those that something disturbs are then few.
_ROUNDS: Final = 100
_ATTACHED: Final = 300
_SENT: Final = 20
_COLD: Final = 8
_EACH: Final = 20
_CROWD: Final = 50


@attrs.frozen(kw_only=True)
class Threads:
    """What several threads spent: exchanges with the token endpoints, and requests that were *accepted*."""

    requests: int
    exchanges: int
    accepted: int


def run(scale: Scale) -> Section:
    """Run the scenario."""
    with Service() as service:
        alone, whole = _costs(service.open("costs"), scale)
        cold = _threads(service.open("cold"), _COLD, _EACH)
        revoked = _threads(service.open("revoked"), _CROWD, 1, revoke=True)
    return Section(
        name="sync",
        title="Sync callers: httpx.Client",
        about=(
            "The auth alone: a fresh token is put on one request, as `httpx.Client` has it done, and a canned 200 is "
            "handed back. A whole request is a POST to the sandbox, in another process. Times are processor time of the "
            "client. Threads share one auth and have a client each."
        ),
        tables=(
            _table("The auth alone, µs", alone, 2),
            _table("A whole request, µs", whole, 0),
            Table(
                "Threads",
                ("what", "logins or renewals", "requests", "accepted"),
                (
                    (f"{_COLD} threads without a token", *_figures(cold)),
                    (f"{_CROWD} threads whose token was revoked", *_figures(revoked)),
                ),
            ),
        ),
        claims=(
            Claim(
                "the sync auth alone, times the static header",
                alone[OWN].over(alone[FLOOR]).median,
                1.3,
            ),
            Claim(
                "a whole sync request, times the static header",
                whole[OWN].over(whole[FLOOR]).median,
                1.05,
            ),
            Claim(f"logins of {_COLD} threads", cold.exchanges, 1),
            Claim(f"renewals of {_CROWD} threads", revoked.exchanges, 1),
            Claim(
                "requests of threads that failed",
                sum(one.requests - one.accepted for one in (cold, revoked)),
                0,
            ),
        ),
        remarks=(
            (
                f"Compared with the leanest possible auth, a `sync_auth_flow` of two statements, taxizer_async takes "
                f"{alone[OWN].over(alone[LEAN]).median:.2f} times as much alone: it compares the origin and reads a "
                "clock besides."
            ),
        ),
    )


def _table(caption: str, found: dict[str, Sample], digits: int) -> Table:
    rows = tuple(
        (name, spread(one.scaled(1e6), digits), ratio(one, found[FLOOR], 3))
        for name, one in found.items()
    )
    return Table(caption, ("auth", "µs", "over the static header"), rows)


def _figures(found: Threads) -> tuple[str, str, str]:
    return f"{found.exchanges}", f"{found.requests}", f"{found.accepted}"


def _costs(site: Site, scale: Scale) -> tuple[dict[str, Sample], dict[str, Sample]]:
    own = own_auth(Setup(target=site.target))
    header = f"Bearer {own.sync_token().jwt.reveal()}"
    auths = {FLOOR: StaticHeader(header), LEAN: LeanHeader(header), OWN: own}
    alone, whole = [], []
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(_client(auth, own.base_url)) for name, auth in auths.items()
        }
        for client in clients.values():
            _send(client)
        for number in range(scale.of(_ROUNDS)):
            names = rotated(list(auths), number)
            alone.append(
                {name: _timed(_attaching(auths[name], clients[name]), _ATTACHED) for name in names}
            )
            whole.append(
                {name: _timed(lambda: _send(clients[name]), _SENT) for name in names}  # noqa: B023
            )
    return samples(alone), samples(whole)


def _client(auth: httpx.Auth, base_url: str) -> httpx.Client:
    return httpx.Client(auth=auth, base_url=base_url, timeout=TIMEOUT, trust_env=False)


def _send(client: httpx.Client) -> bool:
    return client.post(PATH, content=BODY, headers=JSON).is_success


def _attaching(auth: httpx.Auth, client: httpx.Client) -> Callable[[], object]:
    request = client.build_request("POST", PATH, content=BODY, headers=JSON)
    response = httpx.Response(200, request=request)

    def attach() -> None:
        # Like `Client._send_handling_auth`.
        flow = auth.sync_auth_flow(request)
        try:
            next(flow)
            flow.send(response)
        except StopIteration:
            return
        finally:
            flow.close()

    return attach


def _timed(call: Callable[[], object], number: int) -> float:
    """Return the processor's seconds that *call* takes, *number* times in a row."""
    with undisturbed():
        began = time.process_time()
        for _ in range(number):
            call()
        return (time.process_time() - began) / number


def _threads(site: Site, threads: int, each: int, *, revoke: bool = False) -> Threads:
    auth = own_auth(Setup(target=site.target))
    if revoke:
        auth.sync_token()
        site.revoke()
        site.reset()

    def work() -> int:
        with _client(auth, auth.base_url) as client:
            return sum(_send(client) for _ in range(each))

    with ThreadPoolExecutor(threads) as pool:
        accepted = sum(each.result() for each in [pool.submit(work) for _ in range(threads)])
    counters = site.counters()
    return Threads(
        requests=threads * each,
        exchanges=counters["connects"] + counters["refreshes"],
        accepted=accepted,
    )
