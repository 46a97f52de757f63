"""What becomes of requests while AppRefreshToken answers errors, and Connect is well."""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Final

import anyio
import attrs

from benchmarks.bench import Scale, opened
from benchmarks.field import BY_NAME, FOLLOWED, OWN, PEERS
from benchmarks.figures import Sample
from benchmarks.paced import PACE, Paced, failed, until
from benchmarks.report import Claim, Row, Section, Table, peers_ahead
from benchmarks.service import Service


if TYPE_CHECKING:
    from benchmarks.contenders import Contender


_LIFETIME: Final = 4.0
_EARLY: Final = 1.0
_SICK_AT: Final = 2.0
_SICK_FOR: Final = 24.0


@attrs.frozen(kw_only=True)
class Found:
    """Requests that were sent while AppRefreshToken was sick, those that failed, and calls per token."""

    sent: int
    failed: int
    calls: float


def run(scale: Scale) -> Section:
    """Run the scenario; a quick run ends after a sixth of the time."""
    seconds = _SICK_FOR / 6 if scale.quick else _SICK_FOR
    found = anyio.run(_measure, seconds)
    own = found[OWN]
    return Section(
        name="sick-refresh",
        title="A refresh endpoint that is down",
        about=(
            f"{1 / PACE:.0f} requests per second for each, with tokens of {_LIFETIME:.0f} s. For "
            f"{seconds:.0f} s the refresh token is answered 503, and a login works. Calls are those to "
            "both token endpoints, for each life of a token in that time."
        ),
        tables=(
            Table(
                f"AppRefreshToken is down for {seconds:.0f} s",
                ("contender", "failed requests", "of", "calls per life of a token"),
                tuple(
                    (name, f"{one.failed}", f"{one.sent}", f"{one.calls:.1f}")
                    for name, one in found.items()
                ),
            ),
        ),
        claims=(Claim("AppRefreshToken is down: failed requests", own.failed, 0),),
        summary=(
            Row(
                f"AppRefreshToken down for {seconds:.0f} s, tokens of {_LIFETIME:.0f} s: failed requests",
                {name: f"{one.failed}" for name, one in found.items()},
            ),
        ),
        remarks=(
            (
                "Authlib tries nothing but the refresh token that it was given; without one it would log in each "
                "time, as the other peers do. taxizer_async passes AppRefreshToken over for a minute after it has "
                "failed, and logs in."
            ),
            peers_ahead(
                {name: Sample([one.calls]) for name, one in found.items()},
                OWN,
                PEERS,
                "This is for the calls. They never try the refresh token, and taxizer_async tries it once a minute.",
            ),
        ),
    )


async def _measure(seconds: float) -> dict[str, Found]:
    found: dict[str, Found] = {}

    async def follow(contender: Contender) -> None:
        found[contender.name] = await _follow(service, contender, seconds)

    with Service() as service:
        async with anyio.create_task_group() as group:
            for name in FOLLOWED:
                group.start_soon(follow, BY_NAME[name])
    return {name: found[name] for name in FOLLOWED}


async def _follow(service: Service, contender: Contender, seconds: float) -> Found:
    async with opened(service, contender, early=_EARLY, lifetime=_LIFETIME) as one:
        paced = Paced(one.session)
        async with anyio.create_task_group() as group:
            group.start_soon(paced.send_all, _SICK_AT + seconds)
            await anyio.sleep(_SICK_AT)
            one.site.refresh_down()
            one.site.reset()
            sick_at = paced.began + _SICK_AT
            await until(sick_at + seconds)
        sent = paced.between(sick_at, math.inf)
        calls = len(one.site.exchanges())
        return Found(sent=len(sent), failed=failed(sent), calls=calls * _LIFETIME / seconds)
