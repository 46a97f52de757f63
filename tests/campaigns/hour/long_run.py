"""The long run: its weather, its samples, and what is wrong if something is."""

from __future__ import annotations

import functools
import itertools
import json
import random
import tempfile
import time
import urllib.request

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import anyio
import anyio.from_thread
import anyio.to_thread
import attrs

from taxizer_async import RenewalPolicy
from tests.campaigns.hour import course
from tests.campaigns.hour.traffic import Traffic
from tests.campaigns.soak.bounds import more_things
from tests.campaigns.soak.census import Census, Complaints, listening, take_census
from tests.campaigns.soak.judge import Judge
from tests.campaigns.soak.link import Link, sandbox_process
from tests.campaigns.soak.weather import Outage, Shower, draw_outages, draw_shower


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: Showers before each outage.
_SHOWERS: Final = 6


@attrs.frozen(kw_only=True)
class Plan:
    """
    What to do.

    Attributes:
        seconds: How long requests are sent.
        warm_up: How long they are sent before that.
        lifetime: Seconds of a token's life.
        policy: Of all auths.
        interval: Seconds between two samples.
        pause: Seconds between two showers, on average.
        brief: Whether outages are over within two seconds.
        seed: Decides which faults come in which order.
        output: Where the samples are written.
    """

    seconds: float
    warm_up: float
    lifetime: float
    policy: RenewalPolicy
    interval: float
    pause: float
    brief: bool
    seed: int
    output: Path


@attrs.define(kw_only=True)
class Report:
    """
    What came of it.

    Attributes:
        judge: The outcomes of requests.
        complaints: Of the interpreter and the event loops.
        samples: In their order.
        before: The census after the warm-up.
        after: The census in the end.
    """

    judge: Judge
    complaints: Complaints
    before: Census
    after: Census
    samples: list[course.Sample]

    def faults(self) -> Iterator[str]:
        """Yield what was lost or left behind."""
        yield from self.judge.violations
        if self.judge.violated > len(self.judge.violations):
            yield f"… {self.judge.violated} requests altogether"
        if self.samples[-1].reuses:
            yield f"{self.samples[-1].reuses} refresh tokens were sent twice"
        yield from (f"something was not closed or awaited: {told}" for told in self.complaints.told)
        yield from more_things(self.before, self.after)

    def growth(self) -> Iterator[str]:
        """Yield what was not flat."""
        for trend in course.trends(self.samples):
            if not trend.is_flat:
                yield f"{trend.name} rose by {trend.rise:,.1f}, from {trend.level:,.1f}"


async def long_run(plan: Plan) -> Report:
    """Do what *plan* says."""
    judge = Judge(max(plan.policy.outage_backoff_limit, plan.policy.rejected_for))
    with listening() as complaints, tempfile.TemporaryDirectory() as folder:
        async with sandbox_process(plan.lifetime) as link:
            traffic = Traffic(link.base_url, judge, plan.policy, plan.seed, Path(folder))
            weather = _Weather(plan, link, judge, traffic)
            await traffic.run(functools.partial(weather.last, plan.warm_up))
            await traffic.calm_down()
            before = await take_census()
            with course.written(plan.output) as write:
                sampler = _Sampler(link.base_url, judge, traffic, weather, write)
                await traffic.run(functools.partial(_watched, plan, weather, sampler))
            await traffic.calm_down()
            after = await take_census()
    return Report(
        judge=judge,
        complaints=complaints,
        before=before,
        after=after,
        samples=course.read(plan.output),
    )


async def _watched(plan: Plan, weather: _Weather, sampler: _Sampler) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sampler.run, plan.interval)
        await weather.last(plan.seconds)
        tasks.cancel_scope.cancel()


@final
class _Weather:
    """Plays showers, and an outage after some of them."""

    def __init__(self, plan: Plan, link: Link, judge: Judge, traffic: Traffic) -> None:
        self._plan = plan
        self._link = link
        self._judge = judge
        self._traffic = traffic
        self._rng = random.Random(plan.seed)  # noqa: S311 - not for secrets
        self._outages = draw_outages(
            self._rng, brief=plan.brief, policy=plan.policy, lifetime=plan.lifetime
        )
        self.is_outage = False

    async def last(self, seconds: float) -> None:
        """Play for so many *seconds*, and a little longer."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for _ in range(_SHOWERS):
                await self._pause()
                if time.monotonic() > ends_at:
                    return
                await self._rain(draw_shower(self._rng))
            await self._pause()
            await self._go_down(next(self._outages))

    async def _pause(self) -> None:
        await anyio.sleep(self._rng.uniform(0.5, 1.5) * self._plan.pause)

    async def _rain(self, shower: Shower) -> None:
        self._judge.begin_shower()
        if "revoke" in shower.names:
            self._judge.note_revocation()
        if shower.forgets:
            await self._traffic.forget()
        overran = await self._link.play(*shower.steps) > shower.limit
        # Requests that it has hit have their answers by then.
        await self._pause()
        self._judge.end_shower(overran=overran)

    async def _go_down(self, outage: Outage) -> None:
        self._judge.begin_outage(outage)
        self.is_outage = True
        await self._link.play(*outage.steps)
        self.is_outage = False
        self._judge.end_outage()


@final
class _Sampler:
    """Takes a sample at each interval."""

    def __init__(
        self,
        base_url: str,
        judge: Judge,
        traffic: Traffic,
        weather: _Weather,
        write: Callable[[course.Sample], None],
    ) -> None:
        self._write = write
        self._state = f"{base_url}/_sandbox/state"
        self._judge = judge
        self._traffic = traffic
        self._weather = weather

    async def run(self, interval: float) -> None:
        """Take samples until cancelled."""
        began = time.monotonic()
        for number in itertools.count(1):
            asked = await anyio.to_thread.run_sync(self._ask)
            self._write(self._sample(time.monotonic() - began, asked))
            await anyio.sleep(max(0.0, began + number * interval - time.monotonic()))

    def _ask(self) -> dict[str, int]:
        with urllib.request.urlopen(self._state) as answer:  # noqa: S310 - it is the sandbox
            counters = json.load(answer)["counters"]
        return {
            "logins": counters["connects"],
            "refreshes": counters["refreshes"],
            "reuses": counters["reuses"],
            "tasks_asyncio": self._tasks("asyncio"),
            "tasks_trio": self._tasks("trio"),
        }

    def _sample(self, seconds: float, asked: dict[str, int]) -> course.Sample:
        counts = self._judge.counts.copy()
        served, cancelled = counts.pop("served", 0), counts.pop("cancelled", 0)
        # Always on this thread: the list of objects takes memory that each thread's allocator would keep.
        held: dict[str, Any] = course.held()
        return course.Sample(
            seconds=round(seconds, 1),
            outage=int(self._weather.is_outage),
            served=served,
            cancelled=cancelled,
            kinds=json.dumps(counts),
            failed=counts.total() + self._judge.violated,
            loops=self._traffic.loops_closed,
            **asked,
            **held,
        )

    def _tasks(self, name: str) -> int:
        token = self._traffic.lasting[name]
        return anyio.from_thread.run_sync(lambda: len(anyio.get_running_tasks()), token=token)
