"""What an outage of the token endpoints does to requests, and how often they are asked meanwhile."""

from __future__ import annotations

import time

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from benchmarks.bench import Scale, Tally, opened
from benchmarks.field import BY_NAME, FIELD, OWN
from benchmarks.report import Claim, Section, Table
from benchmarks.service import Service


if TYPE_CHECKING:
    from benchmarks.bench import Open


#: Seconds: the life of a token, from when the endpoints are down, and how long.
LIFETIME: Final = 12.0
DOWN_AT: Final = 8.0
DOWN_FOR: Final = 10.0
_AFTER: Final = 4.0
_EARLY: Final = LIFETIME / 4
_PACE: Final = 0.05
#: taxizer_async begins to renew when a quarter of the life is left, at the earliest, and backs off 1 s,
#: then 2 s: so many tries fit into that.
STEPS: Final = 3
_PEERS: Final = [one.name for one in FIELD if one.kind == "peer" or one.name == OWN]


@attrs.frozen(kw_only=True)
class Span:
    """Requests in a stretch of time, those that failed, and calls made to the token endpoints."""

    sent: int
    failed: int
    calls: int


def run(scale: Scale) -> Section:
    """Measure it; it can't be shorter than it is."""
    del scale
    found = anyio.run(_measure)
    own = found[OWN]
    rows = tuple(
        (name, *(f"{one.failed} of {one.sent}; {one.calls}" for one in spans))
        for name, spans in found.items()
    )
    return Section(
        name="outage",
        title="Outage of the token endpoints",
        about=(
            f"{1 / _PACE:.0f} requests per second, each of its own; a token lives {LIFETIME:.0f} s, and "
            f"from {DOWN_AT:.0f} s on the token endpoints answer 503 for {DOWN_FOR:.0f} s. All renew "
            f"{_EARLY:.0f} s early, where that can be set. A figure is failed of sent requests, and then "
            "the calls to the token endpoints in that time. While there is no token, all must fail."
        ),
        tables=(
            Table(
                "Failed requests; calls",
                ("who", "the token lives", "it has ended", f"{_AFTER:.0f} s after the outage"),
                rows,
            ),
        ),
        claims=(
            Claim("failed requests while the token lives", own[0].failed, 0),
            Claim("calls in these back-off steps", own[0].calls, STEPS),
        ),
        remarks=(
            "A new token is asked for up to four times within a back-off step once there is none, and "
            "once while the old one lives. A request that finds a failure remembered fails at once, so "
            "taxizer_async may begin again some seconds after the outage is over: it waits up to 30 s "
            "after many failures in a row. Who asks each time is back sooner, and asks that much more.",
        ),
    )


async def _measure() -> dict[str, tuple[Span, ...]]:
    with Service() as service:
        async with AsyncExitStack() as stack:
            field = {
                name: await stack.enter_async_context(
                    opened(service, BY_NAME[name], early=_EARLY, lifetime=LIFETIME)
                )
                for name in _PEERS
            }
            runs = {name: _Run(one) for name, one in field.items()}
            began = time.monotonic()
            async with anyio.create_task_group() as group:
                for one_run in runs.values():
                    group.start_soon(one_run.send_all, DOWN_AT + DOWN_FOR + _AFTER)
                await _until(began + DOWN_AT)
                for one in field.values():
                    one.site.down()
                down_at = time.monotonic()
                await _until(down_at + DOWN_FOR)
                for one in field.values():
                    one.site.up()
            return {name: runs[name].spans(field[name], down_at) for name in field}


async def _until(moment: float) -> None:
    await anyio.sleep(max(0.0, moment - time.monotonic()))


class _Run:
    def __init__(self, one: Open) -> None:
        self._session = one.session
        self._ended: list[tuple[float, bool]] = []
        self._began = 0.0

    async def send_all(self, seconds: float) -> None:
        async with anyio.create_task_group() as group:
            self._began = time.monotonic()
            for number in range(int(seconds / _PACE)):
                await _until(self._began + number * _PACE)
                group.start_soon(self._send)

    async def _send(self) -> None:
        sent_at = time.monotonic()
        self._ended.append((sent_at, await Tally().count(self._session)))

    def spans(self, one: Open, down_at: float) -> tuple[Span, ...]:
        calls = [entry["started_at"] for entry in one.site.exchanges()]
        up_at = down_at + DOWN_FOR
        # Its life counts from its first request; what is sent at its very end may come too late.
        borders = (down_at, self._began + LIFETIME - _PACE, up_at, up_at + _AFTER)
        found = []
        for begin, end in zip(borders, borders[1:], strict=False):
            sent = [good for moment, good in self._ended if begin <= moment < end]
            found.append(
                Span(
                    sent=len(sent),
                    failed=sent.count(False),
                    calls=sum(begin <= moment < end for moment in calls),
                )
            )
        return tuple(found)
