"""How everything is measured alike: rounds, batches, the garbage collector, sessions that are open."""

from __future__ import annotations

import gc
import time

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import attrs

from benchmarks.contenders import Setup


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from benchmarks.contenders import Contender, Session
    from benchmarks.service import Service, Site


_OK = 200


@attrs.frozen(kw_only=True)
class Scale:
    """
    How much is measured.

    Attributes:
        rounds: Interleaved rounds of what takes a while; at least 7, unless it is quick.
        many: Those of what is short, or has to be told apart finely.
        share: Part of the usual work in each of them.
    """

    rounds: int = 7
    many: int = 15
    share: float = 1.0

    def of(self, number: int) -> int:
        """Return how many that is of *number*."""
        return max(1, round(number * self.share))


FULL = Scale()
QUICK = Scale(rounds=2, many=3, share=0.1)


@attrs.frozen(kw_only=True)
class Open:
    """A contender that is set up, at its own sandbox."""

    contender: Contender
    site: Site
    session: Session


@attrs.frozen(kw_only=True)
class Spent:
    """Seconds by the clock, and of this process's processors."""

    wall: float
    cpu: float

    def over(self, number: int) -> Spent:
        """Return what each of *number* had of it."""
        return Spent(wall=self.wall / number, cpu=self.cpu / number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector out, for all alike."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def opened(
    service: Service, contender: Contender, *, early: float | None = None, **settings: float
) -> AsyncIterator[Open]:
    """Set *contender* up at a sandbox with *settings*."""
    site = service.open(f"{contender.name} {time.monotonic_ns()}", **settings)
    async with contender.open(Setup(target=site.target, early=early)) as session:
        yield Open(contender=contender, site=site, session=session)


@asynccontextmanager
async def all_opened(
    service: Service, contenders: Iterable[Contender], **settings: float
) -> AsyncIterator[dict[str, Open]]:
    """Set all of *contenders* up, each at a sandbox of its own."""
    async with AsyncExitStack() as stack:
        yield {
            contender.name: await stack.enter_async_context(opened(service, contender, **settings))
            for contender in contenders
        }


async def in_a_row(call: Callable[[], Awaitable[object]], number: int) -> Spent:
    """Await *call* so many times, one after the other."""
    with undisturbed():
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(number):
            await call()
        return Spent(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


async def at_once(call: Callable[[], Awaitable[object]], tasks: int, number: int = 1) -> Spent:
    """Await *call* in so many *tasks*, *number* times in each."""

    async def work() -> None:
        for _ in range(number):
            await call()

    with undisturbed():
        wall, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(work)
        return Spent(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


async def succeed(session: Session) -> None:
    """
    Send one request.

    Raises:
        RuntimeError: If it was not accepted: then its time means nothing.
    """
    status = await session.request()
    if status != _OK:
        msg = f"a request was answered {status}"
        raise RuntimeError(msg)


@attrs.define
class Tally:
    """Counts requests by how they ended; what failed is what is measured, so nothing is raised."""

    good: int = 0
    failed: int = 0

    async def count(self, session: Session) -> bool:
        """Send one request, and say whether it was accepted."""
        try:
            accepted = await session.request() == _OK
        except Exception:  # noqa: BLE001 - each library has errors of its own
            accepted = False
        self.good += accepted
        self.failed += not accepted
        return accepted
