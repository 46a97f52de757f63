"""A census counts what is left behind, and the bounds allow none of it."""

from __future__ import annotations

import gc
import random
import socket
import threading

from typing import TYPE_CHECKING, Any

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
    from collections.abc import Iterator


@pytest.fixture(name="_little_to_count")
def __little_to_count() -> Iterator[None]:
    """Leave out objects of other tests: a census looks at each, and there are a million."""
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
    resident=0,
)


@counted
async def test_tasks_and_sockets_are_counted() -> None:
    """A running task is one more; an open socket is one more file and one more socket."""
    before = await take_census()
    with socket.socket():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            after = await take_census()
            tasks.cancel_scope.cancel()

    assert after.tasks == before.tasks + 1
    assert (after.files, after.sockets) == (before.files + 1, before.sockets + 1)


@counted
async def test_a_call_that_was_given_up_is_counted() -> None:
    """A thread that still runs the package's code is counted as busy."""
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
    """A kept object is one more of its type, and so is a coroutine that has not ended."""
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
    """Small pieces of memory are counted as blocks."""
    before = await take_census()
    kept = [bytes(100) for _ in range(10_000)]
    after = await take_census()

    assert after.blocks - before.blocks == pytest.approx(len(kept), rel=0.1)


@counted
async def test_an_unclosed_socket_is_a_complaint() -> None:
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
    ("growth", "told"),
    [
        ({"tasks": 2}, "round 2: 2 tasks, of 1"),
        ({"files": 11}, "round 2: 11 file descriptors, of 10"),
        ({"sockets": 3}, "round 2: 3 sockets, of 2"),
        ({"objects": {"x.Y": 1}}, "round 2: 1 x.Y, of 0"),
        ({"threads": 2 + MOST_THREADS}, "27 threads, of 1 at the start"),
        ({"busy": 1}, "round 2: 1 threads at work, of 0"),
        ({"tracked": 1_001 + MORE_TRACKED}, "501 more objects, of 1,000"),
        ({"blocks": 10_001 + MORE_BLOCKS}, "1,501 more blocks of memory, of 10,000"),
        ({"resident": 1 + MORE_RESIDENT}, "4,194,305 more bytes of memory, of 0"),
    ],
)
def test_growth_is_reported(growth: dict[str, Any], told: str) -> None:
    """One thing more than is allowed breaks a rule."""
    assert find_violations(report(BEFORE, BEFORE)) == []
    assert find_violations(report(BEFORE, attrs.evolve(BEFORE, **growth))) == [told]


def test_other_broken_rules_are_reported() -> None:
    """Lost requests, reuses, complaints and a soak in which nothing happened are reported."""
    broken = report(BEFORE, BEFORE)
    broken.judge.violate("lost")
    broken.counters["reuses"] = 1
    broken.complaints.told.append("unclosed")
    del broken.judge.counts["cancelled"]

    assert find_violations(broken) == [
        "lost",
        "1 refresh tokens were sent twice",
        "something was not closed or awaited: unclosed",
        "it never happened that a caller was cancelled",
    ]
