"""What happens when many coroutines need a token at once, before there is one."""

from __future__ import annotations

import time

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from benchmarks.bench import Scale, at_once, opened_cold, succeed
from benchmarks.field import FIELD, OWN, PEERS
from benchmarks.figures import Sample, rotated
from benchmarks.on_httpx import BARE_WAIT
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from benchmarks.bench import Open
    from benchmarks.contenders import Contender


_CROWD: Final = 10_000
_WHOLE: Final = {one.name: one for one in FIELD if one.kind != "floor"}
#: Contenders that can be driven without requests, and their floor.
_DRIVEN: Final = {
    BARE_WAIT.name: BARE_WAIT,
    **{name: one for name, one in _WHOLE.items() if one.kind == "peer" or name == OWN},
}
_CONNECTIONS: Final = 20


@attrs.frozen(kw_only=True)
class Rush:
    """
    The results of a crowd.

    Attributes:
        cold: Seconds that a cold crowd takes.
        after: The part of them after the server's answer to the login.
        alone: Seconds of one cold caller alone.
        warm: Seconds of a warm crowd.
        exchanges: Logins of the cold crowd.
    """

    cold: float
    after: float
    alone: float
    warm: float
    exchanges: int


def run(scale: Scale) -> Section:
    """Run the scenario."""
    crowd = scale.of(_CROWD)
    driven = anyio.run(_rounds, scale, crowd, _DRIVEN, _attaching)
    whole = anyio.run(_rounds, scale, crowd, _WHOLE, _requesting)
    own = whole[OWN]
    return Section(
        name="stampede",
        title="Stampede: cold coroutines",
        about=(
            f"A login takes the server {scale.login * 1000:.0f} ms. “Beyond the login” is the time of the "
            "crowd less that of one cold caller alone, and is compared with the same crowd with a token. "
            "Whole requests go through the client, over loopback with aiohttp; those of httpx and "
            "httpx2 are answered from memory instead of by a pool, which looks at all queued requests "
            "for each that is done. Authlib does not log in by itself, so it meets an expired token."
        ),
        tables=(
            _table(f"{crowd:,} coroutines, whole requests", whole),
            _table(f"{crowd:,} coroutines, the auth alone", driven),
        ),
        claims=(
            Claim(f"logins of {crowd:,} cold requests", max(one.exchanges for one in own), 1),
            Claim(
                f"{crowd:,} cold requests beyond the login, times the warm run",
                _beyond(own).over(_warm(own)).median,
                1.25,
            ),
            Claim(
                f"logins of {crowd:,} cold coroutines, the auth alone",
                max(one.exchanges for one in driven[OWN]),
                1,
            ),
        ),
        summary=(
            Row(
                f"{crowd:,} cold requests: logins; time beyond one login, over the warm run",
                {
                    name: f"{max(one.exchanges for one in rushes)}; "
                    f"{_beyond(rushes).over(_warm(rushes)).median:.2f}"
                    for name, rushes in whole.items()
                },
            ),
        ),
        remarks=(
            (
                "All log in once here, as each has a lock and checks again under it; httpx-auth blocks the "
                "event loop meanwhile. They differ in what happens to the crowd when that login fails: "
                "see the outage."
            ),
            (
                "The login's request leaves once each coroutine has had its first turn of the event loop, "
                "and each has another one when the token is there. The auth alone is compared with a "
                "warm run that is only a task and a header, so even a bare event is far "
                f"from 1; taxizer_async takes {_over_bare(driven):.2f} times what that takes, as it "
                "finds the leader, and keeps the start of each wait. “After the answer” is from the "
                "server's answer until all are done."
            ),
            peers_ahead(
                {name: _beyond(rushes) for name, rushes in driven.items()},
                OWN,
                PEERS,
                "This is for the auth alone, beyond the login. No coroutine waits for httpx-auth, as it blocks "
                "the event loop; the lock and azure-core wake one caller after the other, and handle neither "
                "cancelled callers nor callers that wait for themselves, nor how long a wait takes.",
            ),
        ),
    )


def _beyond(rushes: list[Rush]) -> Sample:
    return Sample(tuple(one.cold - one.alone for one in rushes))


def _warm(rushes: list[Rush]) -> Sample:
    return Sample(tuple(one.warm for one in rushes))


def _over_bare(found: dict[str, list[Rush]]) -> float:
    return _beyond(found[OWN]).over(_beyond(found[BARE_WAIT.name])).median


def _table(caption: str, found: dict[str, list[Rush]]) -> Table:
    rows = tuple(
        (
            name,
            f"{max(one.exchanges for one in rushes)}",
            spread(_beyond(rushes).scaled(1000), 0),
            spread(_warm(rushes).scaled(1000), 0),
            spread(_beyond(rushes).over(_warm(rushes))),
            spread(Sample(tuple(one.after * 1000 for one in rushes)), 0),
        )
        for name, rushes in found.items()
    )
    head = (
        "contender",
        "logins",
        "beyond the login, ms",
        "warm, ms",
        "ratio",
        "after the answer, ms",
    )
    return Table(caption, head, rows)


def _since_answer(one: Open) -> float:
    now = time.monotonic()
    return now - max(float(entry["finished_at"]) for entry in one.site.exchanges())


async def _rounds(
    scale: Scale,
    crowd: int,
    field: dict[str, Contender],
    call_of: Callable[[Open], Callable[[], Coroutine[Any, Any, object]]],
) -> dict[str, list[Rush]]:
    found: dict[str, list[Rush]] = {name: [] for name in field}
    with Service() as service:
        if not scale.quick:
            # Fills caches, such as the one of the TLS context.
            for contender in field.values():
                await _rush(service, contender, 1, 0.0, call_of)
        for number in range(scale.rounds):
            for name in rotated(list(field), number):
                found[name].append(await _rush(service, field[name], crowd, scale.login, call_of))
    return found


async def _rush(
    service: Service,
    contender: Contender,
    crowd: int,
    login: float,
    call_of: Callable[[Open], Callable[[], Coroutine[Any, Any, object]]],
) -> Rush:
    opened = partial(
        opened_cold, service, contender, login, connections=_CONNECTIONS, in_memory=True
    )
    async with opened() as one:
        alone = await at_once(call_of(one), 1)
    async with opened() as one:
        call = call_of(one)
        cold = await at_once(call, crowd)
        after = _since_answer(one)
        exchanges = one.site.counters()["exchanges"]
        warm = await at_once(call, crowd)
    return Rush(cold=cold.wall, after=after, alone=alone.wall, warm=warm.wall, exchanges=exchanges)


def _attaching(one: Open) -> Callable[[], Coroutine[Any, Any, object]]:
    attach = one.session.attach
    assert attach is not None
    return attach


def _requesting(one: Open) -> Callable[[], Coroutine[Any, Any, object]]:
    return partial(succeed, one.session)
