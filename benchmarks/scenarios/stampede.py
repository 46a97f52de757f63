"""What happens when many coroutines want a token at once, and there is none yet."""

from __future__ import annotations

import time

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from benchmarks.bench import Scale, at_once, opened, succeed
from benchmarks.field import FIELD, OWN, of_floor
from benchmarks.figures import Sample, rotated
from benchmarks.report import Claim, Section, Table, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.bench import Open


CROWDS: Final = (1_000, 10_000)
WHOLE: Final = 1_000
#: A life that Authlib takes for over, so that it finds the token that was fetched for it expired.
_OLD: Final = 30.0
_NEW: Final = 900.0

_PEERS: Final = {one.name: one for one in FIELD if one.kind != "floor"}
#: Who can be driven without requests.
_DRIVEN: Final = [name for name, one in _PEERS.items() if one.kind == "peer" or name == OWN]
#: httpx's pool looks at each for each request.
_CONNECTIONS: Final = 20


@attrs.frozen(kw_only=True)
class Rush:
    """
    What came of one.

    Attributes:
        cold: Seconds of a cold crowd …
        after: … and of these, those after the server's answer to the login.
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
    """Measure it."""
    crowds = {crowd: scale.of(crowd) for crowd in CROWDS}
    driven = {crowd: anyio.run(_driven, scale, size) for crowd, size in crowds.items()}
    whole = anyio.run(_whole, scale, scale.of(WHOLE))
    most = max(CROWDS)
    own = driven[most][OWN]
    return Section(
        name="stampede",
        title="Stampede: cold coroutines",
        about=(
            f"A login takes the server {scale.login * 1000:.0f} ms. “Beyond the login” is the time of the "
            "crowd less that of one cold caller alone. The auth alone is driven for the crowds, as "
            "httpx's pool is quadratic in what queues for it; whole requests are put against a crowd "
            "of the library's static header, which has new connections to make as well. Authlib does "
            "not log in by itself, so it meets an expired token."
        ),
        tables=(
            *(
                _table(f"{crowds[crowd]:,} coroutines, the auth alone", found, "warm, ms")
                for crowd, found in driven.items()
            ),
            _table(f"{scale.of(WHOLE):,} coroutines, whole requests", whole, "static header, ms"),
        ),
        claims=(
            Claim(f"logins of {most:,} cold coroutines", max(one.exchanges for one in own), 1),
            Claim(
                f"{most:,} cold coroutines beyond the login, times the warm run",
                _beyond(own).over(_warm(own)).median,
                1.25,
            ),
            Claim(
                f"logins of {WHOLE:,} cold requests",
                max(one.exchanges for one in whole[OWN]),
                1,
            ),
        ),
        remarks=(
            (
                "All log in once here, as each has a lock and looks again behind it; httpx-auth does so "
                "while the event loop stands still. What differs is what happens to the crowd when that "
                "login fails, see the outage."
            ),
            (
                "The login's request leaves once each of the crowd has had its first turn of the event "
                "loop, and each has another when the token is there: a wait costs at least a future and "
                "a switch, next to a warm run of nothing but a task and a header. httpx-auth's and the "
                "lock's ratios are low as nobody waits in the one, and as the other's warm run takes a "
                "lock per request. “After the answer” is from the server's answer until all are done."
            ),
            (
                "Over httpx, whole requests of a crowd are mostly its pool's cost, which looks at all that "
                "queue for each that is done. The lock by hand lets them in one after the other, so fewer "
                "queue: that is why it is soonest there."
            ),
        ),
        series={
            f"logins {name}": [float(one.exchanges) for one in rushes]
            for name, rushes in whole.items()
        },
    )


def _beyond(rushes: list[Rush]) -> Sample:
    return Sample(tuple(one.cold - one.alone for one in rushes))


def _warm(rushes: list[Rush]) -> Sample:
    return Sample(tuple(one.warm for one in rushes))


def _table(caption: str, found: dict[str, list[Rush]], warm: str) -> Table:
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
    head = ("who", "logins", "beyond the login, ms", warm, "ratio", "after the answer, ms")
    return Table(caption, head, rows)


def _since_answer(one: Open) -> float:
    now = time.monotonic()
    return now - max(float(entry["finished_at"]) for entry in one.site.exchanges())


@asynccontextmanager
async def _cold(service: Service, name: str, login: float) -> AsyncIterator[Open]:
    async with opened(service, _PEERS[name], connections=_CONNECTIONS, lifetime=_OLD) as one:
        one.site.set(lifetime=_NEW, connect_latency=login, refresh_latency=login)
        one.site.reset()
        yield one


async def _driven(scale: Scale, crowd: int) -> dict[str, list[Rush]]:
    found: dict[str, list[Rush]] = {name: [] for name in _DRIVEN}
    with Service() as service:
        for number in range(0 if scale.quick else -1, scale.rounds):
            for name in rotated(_DRIVEN, number):
                rush = await _drive(service, name, crowd, scale.login)
                # The first round fills caches, such as that of the TLS context.
                if number >= 0:
                    found[name].append(rush)
    return found


async def _drive(service: Service, name: str, crowd: int, login: float) -> Rush:
    async with _cold(service, name, login) as one:
        attach = one.session.attach
        assert attach is not None
        alone = await at_once(attach, 1)
    async with _cold(service, name, login) as one:
        attach = one.session.attach
        assert attach is not None
        cold = await at_once(attach, crowd)
        after = _since_answer(one)
        exchanges = one.site.counters()["exchanges"]
        warm = await at_once(attach, crowd)
    return Rush(cold=cold.wall, after=after, alone=alone.wall, warm=warm.wall, exchanges=exchanges)


async def _whole(scale: Scale, crowd: int) -> dict[str, list[Rush]]:
    found: dict[str, list[Rush]] = {name: [] for name in _PEERS}
    floors = {contender.name: contender for contender in FIELD if contender.kind == "floor"}
    with Service() as service:
        for number in range(scale.rounds):
            warm = {}
            for floor in {of_floor(name) for name in _PEERS}:
                async with opened(
                    service, floors[floor], connections=_CONNECTIONS, lifetime=_NEW
                ) as one:
                    warm[floor] = await at_once(partial(succeed, one.session), crowd)
            for name in rotated(list(_PEERS), number):
                async with _cold(service, name, scale.login) as one:
                    alone = await at_once(partial(succeed, one.session), 1)
                async with _cold(service, name, scale.login) as one:
                    cold = await at_once(partial(succeed, one.session), crowd)
                    after = _since_answer(one)
                    exchanges = one.site.counters()["exchanges"]
                found[name].append(
                    Rush(
                        cold=cold.wall,
                        after=after,
                        alone=alone.wall,
                        warm=warm[of_floor(name)].wall,
                        exchanges=exchanges,
                    )
                )
    return found
