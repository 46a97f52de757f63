"""What becomes of requests whose callers have less time than a login takes."""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Final

import anyio
import attrs

from benchmarks.bench import Scale, opened_cold
from benchmarks.field import BY_NAME, FOLLOWED, OWN, PEERS
from benchmarks.figures import Sample
from benchmarks.paced import PACE, Paced, failed
from benchmarks.report import Claim, Row, Section, Table, peers_ahead
from benchmarks.service import Service


if TYPE_CHECKING:
    from benchmarks.contenders import Contender


#: Seconds that a login takes, and that a caller waits for its answer.
_LOGIN: Final = 1.0
_DEADLINE: Final = 0.8
_SECONDS: Final = 4.0


@attrs.frozen(kw_only=True)
class Found:
    """
    What became of the requests of a contender.

    Attributes:
        sent: How many were sent.
        good: How many were accepted before their callers gave up.
        late: How many failed of those that were sent once the first login had been answered.
        logins: How many logins were begun.
    """

    sent: int
    good: int
    late: int
    logins: int


def run(scale: Scale) -> Section:
    """Run the scenario; a quick run sends requests for half of the time."""
    seconds = _SECONDS / 2 if scale.quick else _SECONDS
    found = anyio.run(_measure, seconds)
    own = found[OWN]
    return Section(
        name="impatient",
        title="Impatient callers",
        about=(
            f"{1 / PACE:.0f} requests per second for each, without a token at first. A login takes "
            f"{_LOGIN:g} s, and each caller gives up after {_DEADLINE:g} s. The last column counts the "
            "requests that failed though they were sent after the server had answered the first login."
        ),
        tables=(
            Table(
                f"{seconds:g} s of requests",
                (
                    "contender",
                    "succeeded",
                    "of",
                    "logins begun",
                    "failed after the first login's answer",
                ),
                tuple(
                    (name, f"{one.good}", f"{one.sent}", f"{one.logins}", f"{one.late}")
                    for name, one in found.items()
                ),
            ),
        ),
        claims=(
            Claim("logins that impatient callers begin", own.logins, 1),
            Claim("impatient callers that fail once the login is over", own.late, 0),
        ),
        summary=(
            Row(
                f"callers that wait {_DEADLINE:g} s for a login of {_LOGIN:g} s: succeeded; logins",
                {name: f"{one.good / one.sent:.0%}; {one.logins}" for name, one in found.items()},
            ),
        ),
        remarks=(
            (
                "A login that belongs to the request that needs it ends with that request's deadline, "
                "and the next request begins another. Here, and with google-auth, it is a task of its own: its "
                "first callers give up, and those that come later find the token."
            ),
            peers_ahead(
                {name: Sample([one.sent - one.good]) for name, one in found.items()},
                OWN,
                PEERS,
                "This is for the requests that did not succeed. httpx-auth blocks the event loop during a login, so no "
                "deadline is kept meanwhile. Otherwise it is what a client does before its first login, such as reading a "
                "CA bundle.",
            ),
        ),
        series={name: [one.good / one.sent * 100] for name, one in found.items()},
    )


async def _measure(seconds: float) -> dict[str, Found]:
    found: dict[str, Found] = {}

    async def follow(contender: Contender) -> None:
        found[contender.name] = await _follow(service, contender, seconds)

    with Service() as service:
        # A login that blocks the event loop would keep the others waiting, too.
        for blocks in (False, True):
            async with anyio.create_task_group() as group:
                for name in FOLLOWED:
                    if BY_NAME[name].blocks is blocks:
                        group.start_soon(follow, BY_NAME[name])
    return {name: found[name] for name in FOLLOWED}


async def _follow(service: Service, contender: Contender, seconds: float) -> Found:
    async with opened_cold(service, contender, _LOGIN) as one:
        paced = Paced(one.session, _DEADLINE)
        await paced.send_all(seconds)
        logins = one.site.exchanges()
        answered_at = min(login["finished_at"] for login in logins)
        return Found(
            sent=len(paced.sent),
            good=len(paced.sent) - failed(paced.sent),
            late=failed(paced.between(answered_at, math.inf)),
            logins=len(logins),
        )
