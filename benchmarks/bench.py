"""What all scenarios share, so that they measure alike: rounds, batches, garbage collection, sessions."""

from __future__ import annotations

import gc
import time

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from benchmarks.contenders import CONNECTIONS, Contender, Session, Setup
from benchmarks.service import Site


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    from benchmarks.service import Service


_OK = 200
#: A life that Authlib takes for over. It does not log in by itself, so it begins with a token that looks expired.
OVER: Final = 30.0
_LIFETIME: Final = 900.0
#: Seconds that an answer takes while connections are opened, so that each request opens one.
_SLOW = 0.1


@attrs.frozen(kw_only=True)
class Scale:
    """
    How much is measured.

    Attributes:
        rounds: Interleaved rounds of a long measurement; at least 7, unless the run is quick.
        many: Rounds of a short measurement.
        fine: Rounds of a measurement that has to show a difference of 1 %.
        share: The share of the usual work in each round.
        login: Seconds that a login takes the server.
        processes: How many processes a fleet has.
    """

    rounds: int = 7
    many: int = 9
    fine: int = 21
    share: float = 1.0
    login: float = 0.3
    processes: int = 8

    @property
    def quick(self) -> bool:
        """Whether the run only shows that everything works."""
        return self.share < 1

    def of(self, number: int) -> int:
        """Return the scaled *number*."""
        return max(1, round(number * self.share))


FULL = Scale()
QUICK = Scale(rounds=1, many=1, fine=1, share=0.1, login=0.1, processes=2)


@attrs.frozen(kw_only=True)
class Open:
    """A contender that is set up, with its own sandbox."""

    contender: Contender
    site: Site
    session: Session


@attrs.frozen(kw_only=True)
class Spent:
    """Seconds of the clock, and of the processor time of this process."""

    wall: float
    cpu: float

    def over(self, number: int) -> Spent:
        """Return the part of each of *number*."""
        return Spent(wall=self.wall / number, cpu=self.cpu / number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Switch garbage collection off."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def opened(
    service: Service,
    contender: Contender,
    *,
    early: float | None = None,
    connections: int = CONNECTIONS,
    in_memory: bool = False,
    **settings: float,
) -> AsyncIterator[Open]:
    """Set *contender* up with a sandbox with *settings*; see `Setup` for the other arguments."""
    site = service.open(f"{contender.name} {time.monotonic_ns()}", **settings)
    if early is not None and contender.fixed_early:
        # As its tokens seem to live that much longer, it renews as early as the others.
        site.set(overstatement=contender.fixed_early - early)
    async with contender.open(
        Setup(target=site.target, early=early, connections=connections, in_memory=in_memory)
    ) as session:
        yield Open(contender=contender, site=site, session=session)


@asynccontextmanager
async def opened_cold(
    service: Service,
    contender: Contender,
    login: float,
    *,
    connections: int = CONNECTIONS,
    in_memory: bool = False,
) -> AsyncIterator[Open]:
    """Set *contender* up without a token; from then on a login takes so many seconds."""
    async with opened(
        service, contender, connections=connections, in_memory=in_memory, lifetime=OVER
    ) as one:
        one.site.set(lifetime=_LIFETIME, connect_latency=login, refresh_latency=login)
        one.site.reset()
        yield one


@asynccontextmanager
async def all_opened(
    service: Service, contenders: Iterable[Contender], *, connections: int = CONNECTIONS
) -> AsyncIterator[dict[str, Open]]:
    """Set up all *contenders*, each with its own sandbox."""
    async with AsyncExitStack() as stack:
        yield {
            contender.name: await stack.enter_async_context(
                opened(service, contender, connections=connections)
            )
            for contender in contenders
        }


async def in_a_row(call: Callable[[], Coroutine[Any, Any, object]], number: int) -> Spent:
    """Await *call* *number* times, one after the other."""
    with undisturbed():
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(number):
            await call()
        return Spent(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


async def at_once(
    call: Callable[[], Coroutine[Any, Any, object]], tasks: int, number: int = 1
) -> Spent:
    """Await *call* *number* times in each of several *tasks*."""

    async def work() -> None:
        for _ in range(number):
            await call()

    with undisturbed():
        wall, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(work)
        return Spent(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


async def warm_up(one: Open, tasks: int) -> None:
    """
    Get a token, and open a connection for each of *tasks*, as far as the pool allows.

    The pool of httpx looks at each connection for each request, so all contenders need the same number.
    """
    one.site.set(resource_latency=_SLOW)
    await at_once(partial(succeed, one.session), tasks)
    one.site.set(resource_latency=0.0)


async def succeed(session: Session) -> None:
    """
    Send one request.

    Raises:
        RuntimeError: If it was not accepted, as its time would mean nothing.
    """
    status = await session.request()
    if status != _OK:
        msg = f"a request was answered {status}"
        raise RuntimeError(msg)


@attrs.define
class Tally:
    """Counts accepted and failed requests. Failures are measured here, so none is raised."""

    good: int = 0
    failed: int = 0

    async def count(self, session: Session) -> bool:
        """Send one request, and return whether it was accepted."""
        try:
            accepted = await session.request() == _OK
        except Exception:  # noqa: BLE001 - each library has errors of its own
            accepted = False
        self.good += accepted
        self.failed += not accepted
        return accepted
