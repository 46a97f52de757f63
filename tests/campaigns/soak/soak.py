"""A soak: rounds of showers and an outage at full speed, with a census after each."""

from __future__ import annotations

import collections
import random
import time

from typing import Final, final

import anyio
import attrs

from tests.campaigns.soak.census import Census, Complaints, listening, resident, take_census
from tests.campaigns.soak.crew import Crew
from tests.campaigns.soak.judge import Judge
from tests.campaigns.soak.link import Link, sandbox_process
from tests.campaigns.soak.weather import (
    LIFETIME,
    PAUSE,
    RECOVERS_WITHIN,
    Outage,
    Shower,
    draw_outages,
    draw_shower,
)


#: Seconds of a round at least; longer ones have longer outages.
_BRIEF: Final = 3.0


@attrs.frozen(kw_only=True)
class Plan:
    """
    What to do.

    Attributes:
        seconds: How long requests are sent, at least.
        round_seconds: How long they are sent before each census, as a rule.
        warm_up: Rounds that only warm up; at least one more follows.
        workers: How many workers use each of the two auths that stay.
        seed: Decides which faults come in which order; the order of tasks stays random.
    """

    seconds: float
    round_seconds: float
    warm_up: int
    workers: int
    seed: int


@attrs.define(kw_only=True)
class Report:
    """
    The figures of a soak.

    Attributes:
        plan: The plan.
        judge: The outcomes of requests.
        crew: What sent them.
        faults: How often each came.
        counters: The sandbox's.
        start: The census before the first round.
        censuses: One per round.
        complaints: Of the interpreter and the event loop.
        seconds: How long requests were sent.
        recoveries: Seconds from the end of each outage until all were served.
        slowest_shower: Likewise for showers, the longest.
        overruns: Showers that lasted longer than they were meant to.
        sandbox_resident: Bytes of the sandbox's process, at the start and in the end.
    """

    plan: Plan
    judge: Judge
    crew: Crew
    complaints: Complaints
    start: Census
    faults: collections.Counter[str] = attrs.field(factory=collections.Counter)
    counters: dict[str, int] = attrs.field(factory=dict)
    censuses: list[Census] = attrs.field(factory=list)
    seconds: float = 0.0
    recoveries: list[float] = attrs.field(factory=list)
    slowest_shower: float = 0.0
    overruns: int = 0
    sandbox_resident: tuple[int, int] = (0, 0)


async def soak(plan: Plan) -> Report:
    """Do what *plan* says."""
    judge = Judge()
    with listening() as complaints:
        async with sandbox_process(LIFETIME) as link:
            report = Report(
                plan=plan,
                judge=judge,
                crew=Crew(link.base_url, judge, _random(plan.seed + 1), plan.workers),
                complaints=complaints,
                start=await take_census(),
            )
            before = resident(link.pid)
            await _Soak(plan, link, report).run()
            # The sandbox remembers every token; that is no leak, but it is shown.
            report.sandbox_resident = before, resident(link.pid)
    return report


@final
class _Soak:
    def __init__(self, plan: Plan, link: Link, report: Report) -> None:
        self._plan = plan
        self._link = link
        self._report = report
        self._judge = report.judge
        self._crew = report.crew
        self._rng = _random(plan.seed)
        self._outages = draw_outages(self._rng, brief=plan.round_seconds < _BRIEF)

    async def run(self) -> None:
        report, plan = self._report, self._plan
        while report.seconds < plan.seconds or len(report.censuses) <= plan.warm_up:
            began = time.monotonic()
            await self._crew.run(self._round)
            report.seconds += time.monotonic() - began
            await self._crew.calm_down()
            report.censuses.append(await take_census())
            if self._judge.hopeless:
                break
        await self._link.play()
        report.counters = self._link.counters

    async def _round(self) -> None:
        """Showers first, then an outage."""
        outage = next(self._outages)
        ends_at = time.monotonic() + max(0.0, self._plan.round_seconds - outage.seconds - PAUSE)
        rains = True
        while rains and not self._judge.hopeless:
            await self._rain(draw_shower(self._rng))
            rains = time.monotonic() < ends_at
        if not self._judge.hopeless:
            await self._go_down(outage)

    async def _rain(self, shower: Shower) -> None:
        for name in shower.names:
            self._report.faults[name] += 1
        self._judge.begin_shower()
        if "revoke" in shower.names:
            self._judge.note_revocation()
        overran = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._meddle, shower)
            overran = await self._link.play(*shower.steps) > shower.limit
        self._report.overruns += overran
        took = await self._crew.all_served(RECOVERS_WITHIN)
        self._report.slowest_shower = max(self._report.slowest_shower, took)
        self._judge.end_shower(overran=overran)
        await anyio.sleep(PAUSE)

    async def _meddle(self, shower: Shower) -> None:
        """Cancel callers, restart the keeper and forget tokens, as the shower says."""
        await anyio.sleep(shower.after)
        self._crew.cancel(shower.cancels)
        if shower.restarts_keeper:
            self._crew.restart_keeper()
        if shower.forgets:
            await self._crew.forget()

    async def _go_down(self, outage: Outage) -> None:
        self._report.faults[f"outage: {outage.kind}{', revoked' if outage.revoked else ''}"] += 1
        self._judge.begin_outage(outage)
        await self._link.play(*outage.steps)
        self._judge.end_outage()
        self._crew.check_backoff()
        self._report.recoveries.append(await self._crew.all_served(RECOVERS_WITHIN))


def _random(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - not for secrets
