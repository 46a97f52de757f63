"""What an outage of the token endpoints does to requests, and how often the endpoints are called meanwhile."""

from __future__ import annotations

import itertools
import math
import time

from contextlib import AsyncExitStack
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
    from benchmarks.bench import Open


@attrs.frozen(kw_only=True)
class Plan:
    """
    An outage, in seconds.

    Attributes:
        lifetime: How long a token lives; all contenders renew a quarter of that before it expires.
        down_at: When the token endpoints go down.
        down_for: How long they are down.
        after: How long requests go on after that.
    """

    lifetime: float
    down_at: float
    down_for: float
    after: float = 4.0

    @property
    def early(self) -> float:
        """When all contenders renew."""
        return self.lifetime / 4

    @property
    def seconds(self) -> float:
        """How long the measurement takes."""
        return self.down_at + self.down_for + self.after

    @property
    def steps(self) -> int:
        """
        How many attempts are allowed while the token lives and the endpoints are down.

        The first one when the token is due, and then one after each back-off of 1, 2, 4, … s; but a back-off
        is at most half of the token's remaining life, or 1 s if that is more.
        """
        moment, found = max(self.lifetime - self.early, self.down_at), 0
        end = min(self.lifetime, self.down_at + self.down_for)
        while moment < end:
            moment += min(2.0**found, max(1.0, (self.lifetime - moment) / 2))
            found += 1
        return found


_OUTLIVED: Final = Plan(lifetime=40, down_at=27, down_for=10)
_ENDED: Final = Plan(lifetime=12, down_at=6.5, down_for=10)
#: Long enough for the longest back-off.
_LONG: Final = Plan(lifetime=12, down_at=6.5, down_for=45, after=8)
_QUICK: Final = Plan(lifetime=3, down_at=2, down_for=1, after=0.5)


@attrs.frozen(kw_only=True)
class Span:
    """Requests in a period, failed requests, and calls to the token endpoints."""

    sent: int
    failed: int
    calls: int


@attrs.frozen(kw_only=True)
class Course:
    """What became of a contender: by period, and the seconds from the end of the outage to a success."""

    spans: tuple[Span, ...]
    resumed_after: float


def run(scale: Scale) -> Section:
    """Run the scenario; a full run can't be shorter."""
    plans = (_QUICK,) if scale.quick else (_OUTLIVED, _ENDED, _LONG)
    found = anyio.run(_measure, plans)
    plan, first = found[0]
    own = first[OWN].spans[0]
    longest, after = found[-1]
    return Section(
        name="outage",
        title="Outage of the token endpoints",
        about=(
            f"{1 / PACE:.0f} requests per second for each, while the token endpoints answer 503. "
            "All renew when a quarter of the token's life is left, by default or by a setting: azure-core puts up to "
            "60 s on that, at random, so short tokens live until they expire there. A figure is failed of sent requests, "
            "by when they were sent, and then the calls to the token endpoints in that time. Where there "
            "is no token, a request can only wait or fail."
        ),
        tables=tuple(_table(plan, courses) for plan, courses in found),
        claims=(
            *(
                Claim(
                    f"outage of {one.down_for:.0f} s, a token of {one.lifetime:.0f} s: failed requests "
                    "while it lives",
                    courses[OWN].spans[0].failed,
                    0,
                )
                for one, courses in found
            ),
            Claim(
                f"outage: calls in {plan.steps} back-off steps while it lives",
                own.calls,
                plan.steps,
            ),
            Claim(
                f"outage of {longest.down_for:.0f} s: from its end to the first success",
                after[OWN].resumed_after,
                6,
                "s",
            ),
        ),
        summary=(
            *(
                Row(
                    f"token endpoints down for {one.down_for:.0f} s, tokens of {one.lifetime:.0f} s: failed "
                    "requests while the token lives; calls",
                    {
                        name: f"{each.spans[0].failed}; {each.spans[0].calls}"
                        for name, each in courses.items()
                    },
                )
                for one, courses in found
            ),
            Row(
                f"from the end of {longest.down_for:.0f} s of that to the first success, s; calls meanwhile",
                {
                    name: f"{each.resumed_after:.1f}; {sum(span.calls for span in each.spans[:2])}"
                    for name, each in after.items()
                },
            ),
        ),
        remarks=(
            (
                "taxizer_async calls once per back-off step while the token lives, and for up to 30 s once "
                "there is none. A request fails at once while a failure is remembered. google-auth and azure-core "
                "try each login again, too, and let all requests wait meanwhile."
            ),
            peers_ahead(
                {name: Sample([each.spans[1].failed]) for name, each in after.items()},
                OWN,
                PEERS,
                "This is for the requests that failed once the token had expired. azure-core and the lock let them "
                "wait in line, for as long as the outage lasts.",
            ),
            peers_ahead(
                {name: Sample([each.resumed_after]) for name, each in after.items()},
                OWN,
                PEERS,
                "This is from the end of the outage to the first success. A contender that calls for each request "
                "is back at once, and has made that many more calls.",
            ),
        ),
        series={name: [min(each.resumed_after, longest.after)] for name, each in after.items()},
    )


def _table(plan: Plan, found: dict[str, Course]) -> Table:
    rows = tuple(
        (
            name,
            *(
                f"{one.failed} of {one.sent}; {one.calls}" if one.sent else ""
                for one in course.spans
            ),
            f"{course.resumed_after:.1f}",
        )
        for name, course in found.items()
    )
    return Table(
        f"A token that lives {plan.lifetime:.0f} s; down from {plan.down_at:g} s on, for "
        f"{plan.down_for:.0f} s",
        (
            "failed requests; calls",
            "the token lives",
            "it has expired",
            f"{plan.after:g} s after",
            "first success, s after",
        ),
        rows,
    )


async def _measure(plans: tuple[Plan, ...]) -> list[tuple[Plan, dict[str, Course]]]:
    found: list[tuple[Plan, dict[str, Course]]] = []

    async def follow(plan: Plan) -> None:
        found.append((plan, await _follow(service, plan)))

    with Service() as service:
        async with anyio.create_task_group() as group:
            for plan in plans:
                group.start_soon(follow, plan)
    return sorted(found, key=lambda pair: plans.index(pair[0]))


async def _follow(service: Service, plan: Plan) -> dict[str, Course]:
    async with AsyncExitStack() as stack:
        field = {
            name: await stack.enter_async_context(
                opened(service, BY_NAME[name], early=plan.early, lifetime=plan.lifetime)
            )
            for name in FOLLOWED
        }
        runs = {name: Paced(one.session) for name, one in field.items()}
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for one_run in runs.values():
                group.start_soon(one_run.send_all, plan.seconds)
            await until(began + plan.down_at)
            for one in field.values():
                one.site.down()
            down_at = time.monotonic()
            await until(down_at + plan.down_for)
            for one in field.values():
                one.site.up()
        return {name: _course(runs[name], field[name], down_at, plan) for name in field}


def _course(paced: Paced, one: Open, down_at: float, plan: Plan) -> Course:
    calls = [entry["started_at"] for entry in one.site.exchanges()]
    up_at = down_at + plan.down_for
    # A token's life counts from its first request, so a request just before it expires may come too late.
    end = max(down_at, min(paced.began + plan.lifetime - PACE, up_at))
    spans = tuple(
        Span(
            sent=len(paced.between(begin, finish)),
            failed=failed(paced.between(begin, finish)),
            calls=sum(begin <= moment < finish for moment in calls),
        )
        for begin, finish in itertools.pairwise((down_at, end, up_at, up_at + plan.after))
    )
    successes = [each.ended_at for each in paced.sent if each.good and each.ended_at >= up_at]
    return Course(spans=spans, resumed_after=min(successes, default=math.inf) - up_at)
