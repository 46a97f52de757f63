"""A census sees what is left behind, and the bounds allow none of it."""

from __future__ import annotations

import gc
import random
import socket
import threading

from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs
import pytest

from taxizer_async import Credentials, TaxizerAuth
from taxizer_async._core.threads import AbandonableCalls
from tests.campaigns.soak.bounds import (
    MORE_BLOCKS,
    MORE_RESIDENT,
    MORE_TRACKED,
    MOST_THREADS,
    find_violations,
)
from tests.campaigns.soak.census import Census, Complaints, listening, take_census
from tests.campaigns.soak.crew import Crew
from tests.campaigns.soak.judge import Judge
from tests.campaigns.soak.soak import Plan, Report


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="_little_to_count")
def __little_to_count() -> Iterator[None]:
    """Leave out what other tests have made: a census looks at each object, and there are a million."""
    gc.freeze()
    yield
    gc.unfreeze()


counted = pytest.mark.usefixtures("_little_to_count")

BEFORE = Census(
    tasks=1,
    threads=1,
    busy=0,
    files=10,
    sockets=2,
    objects={"taxizer_async._token.single_flight.SharedRefresh": 1},
    tracked=1_000,
    blocks=10_000,
    resident=50_000_000,
)


@counted
async def test_a_task_is_counted() -> None:
    """A task that still runs is one more."""
    before = await take_census()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        after = await take_census()
        tasks.cancel_scope.cancel()

    assert after.tasks == before.tasks + 1


@counted
async def test_a_socket_is_counted() -> None:
    """An open socket is one more, as a file and as a socket."""
    before = await take_census()
    with socket.socket():
        after = await take_census()

    assert (after.files, after.sockets) == (before.files + 1, before.sockets + 1)


@counted
async def test_a_call_that_was_given_up_is_counted() -> None:
    """A thread in the package's code is at work, until what it waits for comes."""
    answered = threading.Event()
    before = await take_census()
    token = anyio.lowlevel.current_token()
    with anyio.CancelScope() as scope:

        def call() -> None:
            anyio.from_thread.run_sync(scope.cancel, token=token)
            answered.wait()

        await AbandonableCalls(limit=1).run(call)
    given_up = await take_census()
    answered.set()

    assert (before.busy, given_up.busy) == (0, 1)


@counted
async def test_objects_of_the_package_are_counted() -> None:
    """What is kept is one more of its type, and so is a coroutine that has not ended."""
    auth = TaxizerAuth(Credentials("id", "secret"), base_url="http://127.0.0.1:1")
    before = await take_census()
    kept = Credentials("id", "secret"), auth.token()
    after = await take_census()
    kept[1].close()

    name = "taxizer_async._core.models.Credentials"
    assert after.objects[name] == before.objects.get(name, 0) + 1
    assert after.objects["AuthBase.token()"] == 1


@counted
async def test_memory_is_counted() -> None:
    """Small pieces of memory are blocks, whatever they are: all but the few that others let go."""
    before = await take_census()
    kept = [bytes(100) for _ in range(10_000)]
    after = await take_census()

    assert after.blocks - before.blocks == pytest.approx(len(kept), rel=0.1)


@counted
async def test_what_nobody_closed_is_heard_of() -> None:
    """A socket that the garbage collector had to close is a complaint."""
    with listening() as complaints:
        socket.socket()
        await take_census()

    assert len(complaints.told) == 1
    assert complaints.told[0].startswith("ResourceWarning: unclosed <socket")


def report(*censuses: Census) -> Report:
    plan = Plan(seconds=1.0, round_seconds=1.0, warm_up=1, workers=1, seed=1)
    judge = Judge()
    judge.counts.update(served=1, cancelled=1)
    crew = Crew("http://127.0.0.1:1", judge, random.Random(1), workers=1)  # noqa: S311
    crew.visits = 1
    counters = {"connects": 2, "connects_ok": 1, "refreshes": 0, "refreshes_ok": 0}
    return Report(
        plan=plan,
        judge=judge,
        crew=crew,
        complaints=Complaints(),
        start=BEFORE,
        counters={**counters, "unauthorized": 1, "reuses": 0},
        censuses=list(censuses),
    )


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (attrs.evolve(BEFORE, tasks=2), "round 2: 2 tasks, of 1"),
        (attrs.evolve(BEFORE, files=11), "round 2: 11 file descriptors, of 10"),
        (attrs.evolve(BEFORE, sockets=3), "round 2: 3 sockets, of 2"),
        (attrs.evolve(BEFORE, objects={"x.Y": 1}), "round 2: 1 x.Y, of 0"),
        (attrs.evolve(BEFORE, threads=2 + MOST_THREADS), "27 threads, of 1 at the start"),
        (attrs.evolve(BEFORE, busy=1), "round 2: 1 threads at work, of 0"),
        (attrs.evolve(BEFORE, tracked=1_001 + MORE_TRACKED), "501 more objects, of 1,000"),
        (
            attrs.evolve(BEFORE, blocks=10_001 + MORE_BLOCKS),
            "1,501 more blocks of memory, of 10,000",
        ),
        (
            attrs.evolve(BEFORE, resident=50_000_001 + MORE_RESIDENT),
            "4,194,305 more bytes of memory, of 50,000,000",
        ),
    ],
    ids=[
        "tasks",
        "files",
        "sockets",
        "objects",
        "threads",
        "busy",
        "tracked",
        "blocks",
        "resident",
    ],
)
def test_growth_is_told(after: Census, told: str) -> None:
    """One more than is allowed is told."""
    assert find_violations(report(BEFORE, BEFORE)) == []
    assert find_violations(report(BEFORE, after)) == [told]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda each: each.judge.violate("lost"), "lost"),
        (lambda each: each.counters.update(reuses=1), "1 refresh tokens were sent twice"),
        (
            lambda each: each.complaints.told.append("unclosed"),
            "nobody closed or awaited something: unclosed",
        ),
        (
            lambda each: each.judge.counts.clear() or each.judge.counts.update(served=1),
            "it never came to pass that a caller was cancelled",
        ),
    ],
    ids=["lost", "reuses", "complaints", "idle"],
)
def test_whatever_else_is_broken_is_told(change: Callable[[Report], None], told: str) -> None:
    """Lost requests, reuses, complaints and a soak in which nothing happened are told."""
    broken = report(BEFORE, BEFORE)
    change(broken)

    assert find_violations(broken) == [told]
