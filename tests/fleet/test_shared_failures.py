"""A fleet fails once, and one machine that is cut off does not stop the others (invariant 21)."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time

from typing import Self, final

import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.fleet.fleet import Fleet, Report, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer


pytestmark = [pytest.mark.report(151), pytest.mark.timeout(300)]

PROCESSES, AUTHS = 4, 8
#: The limit of a login as a whole.
LOGIN = 30.0


@final
class BlackHole:
    """An address on loopback at which connections are neither accepted nor refused."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._full: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        for _ in range(4):
            self._full.append(socket.socket())
            self._full[-1].settimeout(0)
            with contextlib.suppress(BlockingIOError):
                self._full[-1].connect(self._listener.getsockname())
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self._full, self._listener):
            each.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"


@pytest.fixture(name="config")
def _config(redis_server: RedisServer) -> WorkerConfig:
    return WorkerConfig(store=("redis", redis_server.url))


def _failures(reports: list[Report]) -> list[str]:
    return [failure for report in reports for failure in report.failures]


def _failed(reports: list[Report]) -> list[float]:
    return sorted(moment for report in reports for moment in report.failed)


def _tries(reports: list[Report]) -> int:
    """Return how many logins the workers themselves tried in vain."""
    events = itertools.chain.from_iterable(report.events for report in reports)
    return sum("kind='connect'" in event for event in events)


@pytest.mark.parametrize("asks", [False, True], ids=["by value", "callable"])
def test_a_wrong_secret_is_refused_once(sandbox: Sandbox, config: WorkerConfig, asks: bool) -> None:
    """32 workers with a wrong secret: two logins at most, and all have failed within 3 s of the first."""
    with Fleet(sandbox, config) as fleet:
        fleet.start(PROCESSES, auths=AUTHS, client_secret="wrong", asks=asks)
        reports = fleet.ask_all(f"burst {AUTHS}")

    failures, moments = _failures(reports), _failed(reports)
    assert len(failures) == PROCESSES * AUTHS
    assert all(failure.startswith("CredentialsRejectedError") for failure in failures)
    assert sandbox.counters.connects <= 2
    assert moments[-1] - moments[0] < 3


def test_the_right_secret_beside_a_wrong_one_logs_in(
    sandbox: Sandbox, config: WorkerConfig
) -> None:
    """Workers that were given the new secret are not held up by those with the old one, which take the token."""
    with Fleet(sandbox, config) as fleet:
        fleet.start(1, auths=4, client_secret="wrong")
        fleet.ask_all("burst 4")
        fleet.start(1, auths=4)
        reports = fleet.ask_all("burst 4")
        again = fleet.workers[0].ask("burst 4")

    assert reports[1].failures == []
    assert sandbox.counters.connects == 2
    # Those that have failed do so from memory, for a minute.
    assert len(again.failures) == 12


@pytest.mark.slow
def test_an_outage_that_is_answered_is_tried_by_one(sandbox: Sandbox, config: WorkerConfig) -> None:
    """32 workers and an endpoint that answers 503: two of them try at most, and none waits for long over 30 s."""
    sandbox.fail("connect", Fault.status(503))
    began = time.monotonic()
    with Fleet(sandbox, config) as fleet:
        fleet.start(PROCESSES, auths=AUTHS)
        began = time.monotonic()
        reports = fleet.ask_all(f"burst {AUTHS}")

    assert len(_failures(reports)) == PROCESSES * AUTHS
    assert all("503" in failure or "lease" in failure for failure in _failures(reports))
    assert _tries(reports) <= 2
    assert _failed(reports)[-1] - began < LOGIN + 1


@pytest.mark.slow
def test_an_endpoint_that_hangs_keeps_nobody_for_long(
    sandbox: Sandbox, config: WorkerConfig
) -> None:
    """32 workers and an endpoint that never answers: none waits for long over 30 s."""
    sandbox.fail("connect", Fault.hang())
    with Fleet(sandbox, config) as fleet:
        fleet.start(PROCESSES, auths=AUTHS)
        began = time.monotonic()
        reports = fleet.ask_all(f"burst {AUTHS}")
        sandbox.heal()

    assert len(_failures(reports)) == PROCESSES * AUTHS
    assert _failed(reports)[-1] - began < LOGIN + 1
    # One after the other, as each gives the lease back when its time is over.
    assert 3 <= sandbox.counters.connects <= 4


@pytest.mark.slow
def test_a_machine_that_is_cut_off_stops_no_other(sandbox: Sandbox, config: WorkerConfig) -> None:
    """One of 8 workers reaches Redis but not the endpoint: the others have a token in 6 s, and so has it."""
    sandbox.connect_latency = 0.3
    with BlackHole() as black_hole, Fleet(sandbox, config) as fleet:
        (sick,) = fleet.start(1, proxy=black_hole.url)
        others = fleet.start(7)
        exchanges = len(fleet.exchanges)
        sick.order("burst 1")
        end = time.monotonic() + PATIENCE
        while len(fleet.exchanges) == exchanges:
            assert time.monotonic() < end
            time.sleep(0.01)
        began = time.monotonic()
        for worker in others:
            worker.order("burst 1")
        reports = [worker.report() for worker in others]
        last = sick.report()

    assert _failures([*reports, last]) == []
    assert max(report.last_served for report in reports) - began < 6 + sandbox.connect_latency
    assert sandbox.counters.connects == 1
    assert last.adoptions == 1
