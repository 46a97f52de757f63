"""
A seeded simulator of the token state machine, over a virtual clock: every step is drawn from one seed.

Run `python -m tests.campaigns.model.simulator --steps 1000000 --backend trio --seed 1` for a soak.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import time

from typing import TYPE_CHECKING

import anyio
import attrs

from tests.campaigns.model.finale import finish
from tests.campaigns.model.process import Process
from tests.campaigns.model.requests import run_call
from tests.campaigns.model.settling import in_order, on_clock, settle
from tests.campaigns.model.steps import STEPS, draw_weights
from tests.campaigns.model.world import Call, World, listening


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from tests.campaigns.model.server import Place


#: Steps of one episode, after which everything starts anew.
EPISODE = 150
_MOST_CALLS = 25


class BrokenError(AssertionError):
    """A check failed; the message has the seed and the trace."""


@attrs.define(eq=False)
class Keeper:
    """A `keep_fresh`."""

    process: Process
    scope: anyio.CancelScope


class Simulation:
    """One episode."""

    def __init__(self, seed: int, steps: int = EPISODE) -> None:
        self.seed = seed
        self.steps = steps
        self.rng = random.Random(seed)  # noqa: S311 - not for secrets
        self._weights = draw_weights(self.rng)
        self.world = World(self.rng)
        self.keepers: list[Keeper] = []
        self.tasks: TaskGroup
        self.calls_so_far = 0

    async def run(self) -> None:
        """
        Run all steps, then see whether all recovers.

        Raises:
            BrokenError: If a check fails.
        """
        with in_order(self.seed), listening(self.world), on_clock(self.world.clock):
            async with anyio.create_task_group() as self.tasks:
                for number in range(self.steps):
                    step = self.rng.choices(STEPS, self._weights)[0]
                    self.world.note(f"{number}: {step.__name__}")
                    await self.take(step)
                await finish(self)
                self.tasks.cancel_scope.cancel()

    async def take(self, step: Callable[[Simulation], Awaitable[None]]) -> None:
        """Take one step, let all tasks run, and check."""
        await step(self)
        self.world.look()
        await self.settle()

    async def settle(self) -> None:
        """Let all tasks run until each waits, and check."""
        if not await settle():
            self.world.violations.append("no task spins")
        self.world.look()
        self._check()

    async def give_up(self, calls: Iterable[Call]) -> None:
        """Cancel *calls*, and check that nothing else changes."""
        await self.settle()
        before = self.world.work()
        for call in list(calls):
            call.scope.cancel()
        await self.settle()
        if self.world.work() != before:
            self.world.violations.append("a caller that gave up changed nothing")

    def start_call(
        self, process: Process, *, replayable: bool | None = None, where: Place | None = None
    ) -> Call | None:
        """Have *process* send a request."""
        if len(self.world.calls) >= _MOST_CALLS:
            return None
        self.calls_so_far += 1
        if replayable is None:
            replayable = self.rng.random() < 0.9
        if where is None:
            places = self.world.server.places
            where = self.rng.choices(places, [place.weight for place in places])[0]
        call = Call(
            number=self.calls_so_far,
            process=process,
            scope=anyio.CancelScope(),
            where=where,
            replayable=replayable,
        )
        self.world.calls.append(call)
        self.tasks.start_soon(run_call, self, call)
        return call

    def start_keeper(self, process: Process) -> None:
        """Have *process* keep its token fresh."""
        keeper = Keeper(process, anyio.CancelScope())
        self.keepers.append(keeper)

        async def keep() -> None:
            with keeper.scope:
                await process.provider.keep_fresh()

        self.tasks.start_soon(keep)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way that a waiting caller could wait for."""
        shelf, processes = self.world.shelf, self.world.processes
        pollers = any(process.clock.pollers for process in processes)
        return not (self.world.asking() or shelf.gates or pollers)

    def _check(self) -> None:
        self._no_caller_is_stuck()
        self._cancelled_callers_end()
        self._no_refresh_token_is_reused()
        for process in self.world.processes:
            process.watch.settled()
        self.world.calls = [call for call in self.world.calls if not call.done]
        if self.world.violations:
            trace = "\n".join(self.world.trace[-120:])
            told = "; ".join(self.world.violations)
            raise BrokenError(f"seed {self.seed}: {told}\n{trace}\nseed {self.seed}: {told}")

    def _no_caller_is_stuck(self) -> None:
        if self.idle and any(call.wants_token and not call.done for call in self.world.calls):
            self.world.violations.append("every caller is done, or waits for what is under way")

    def _cancelled_callers_end(self) -> None:
        if any(call.scope.cancel_called and not call.done for call in self.world.calls):
            self.world.violations.append("a cancelled caller ends at once")

    def _no_refresh_token_is_reused(self) -> None:
        if self.world.server.reuses:
            self.world.violations.append("the server sees no refresh token twice")


async def run_many(seed: int, steps: int, *, verbose: bool = False) -> int:
    """Run episodes from *seed* on until *steps* are done; return the number done."""
    done, began, told = 0, time.monotonic(), time.monotonic()
    while done < steps:
        await Simulation(seed).run()
        done, seed = done + EPISODE, seed + 1
        if verbose and time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{done:,} steps, {done / (told - began):,.0f}/s", flush=True)  # noqa: T201
    return done


def main() -> int:
    """Soak."""
    parser = argparse.ArgumentParser(description="Simulate the life of tokens.")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    wanted = parser.parse_args()
    began = time.monotonic()
    run = functools.partial(run_many, wanted.seed, wanted.steps, verbose=True)
    done = anyio.run(run, backend=wanted.backend)
    speed = done / (time.monotonic() - began)
    print(  # noqa: T201
        f"clean: {done:,} steps from seed {wanted.seed} on {wanted.backend}, {speed:,.0f} steps/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
