"""A leader that was held up, or whose store was restored meanwhile, costs nothing."""

from __future__ import annotations

import shutil
import time

import anyio
import pytest

from taxizer_async import Credentials, RenewalPolicy, TaxizerAuth
from taxizer_async.stores import StoreKey
from taxizer_async.stores import redis as redis_store
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Fault, Sandbox
from tests.fleet.fleet import PATIENT, STORE_TIMEOUT, Fleet, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _set_back_files(fleet: Fleet) -> None:
    """Restore the directory from a backup."""
    where = fleet.config.store[1]
    shutil.copytree(where, f"{where}.copy")
    _renew(fleet)
    shutil.copytree(f"{where}.copy", where, dirs_exist_ok=True)


def _set_back_redis(fleet: Fleet, server: RedisServer) -> None:
    """Restart Redis from a snapshot."""
    assert server.ask("SAVE") == b"+OK\r\n"
    _renew(fleet)
    server.stop()
    server.start()


def _renew(fleet: Fleet) -> None:
    fleet.sandbox.revoke()
    fleet.ask_all("burst 1")
    assert fleet.sandbox.counters.refreshes_ok == 1


@pytest.mark.report(81)
def test_a_refresh_token_out_of_a_backup_is_not_sent(
    sandbox: Sandbox, config: WorkerConfig, request: pytest.FixtureRequest
) -> None:
    """A process that has seen a newer token knows that the restored one is spent."""
    with Fleet(sandbox, config) as fleet:
        fleet.start(2)
        fleet.ask_all("burst 1")
        if config.store[0] == "file":
            _set_back_files(fleet)
        else:
            _set_back_redis(fleet, request.getfixturevalue("redis_server"))
        sandbox.revoke()
        reports = fleet.ask_all("burst 1")

    assert [report.failures for report in reports] == [[], []]
    assert sandbox.counters.reuses == 0
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)


def test_a_newcomer_after_a_restore_costs_one_login(
    sandbox: Sandbox, config: WorkerConfig, request: pytest.FixtureRequest
) -> None:
    """A process that starts after a restore sends the spent refresh token: one login follows, no failure."""
    with Fleet(sandbox, config) as fleet:
        (older,) = fleet.start(1)
        older.ask("burst 1")
        if config.store[0] == "file":
            _set_back_files(fleet)
        else:
            _set_back_redis(fleet, request.getfixturevalue("redis_server"))
        (newcomer,) = fleet.start(1)
        reports = [newcomer.ask("burst 1"), older.ask("burst 1")]

    assert [report.failures for report in reports] == [[], []]
    # The server takes the reuse for a theft, and revokes what it has issued.
    assert sandbox.counters.reuses == 1
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 2)


@pytest.mark.report(48, 86)
@pytest.mark.parametrize(("answered", "timeout"), [(False, 3.0), (True, 60.0)])
def test_a_leader_that_was_stopped_costs_nothing(
    sandbox: Sandbox, redis_server: RedisServer, answered: bool, timeout: float
) -> None:
    """When it goes on, its refresh has failed and its lease has ended: it adopts what others saved."""
    config = WorkerConfig(store=("redis", redis_server.url))
    with Fleet(sandbox, config) as fleet:
        (other,) = fleet.start(1)
        other.ask("burst 1")
        (holder,) = fleet.start(1, policy=PATIENT | {"attempt_timeout": timeout})
        before = holder.ask("burst 1")
        sandbox.revoke()
        sandbox.fail("refresh", Fault.status(400))
        with sandbox.hold("refresh") as gate:
            holder.order("burst 1")
            gate.wait_until(1, PATIENCE)
            holder.freeze()
            frozen_at = time.monotonic()
            redis_server.ask(f"PEXPIRE {_lease_name(sandbox)} 1")
            assert other.ask("burst 1").failures == []
            if answered:
                gate.release()
                sandbox.wait_until(lambda _: len(sandbox.exchange_log) == 3, PATIENCE)
            else:
                # Only time has to pass here.
                time.sleep(max(0.0, frozen_at + timeout - time.monotonic()))
            holder.thaw()
            report = holder.report()
        (newcomer,) = fleet.start(1)
        assert newcomer.ask("burst 1").adoptions == 1

    assert report.failures == []
    assert (report.logins, report.adoptions) == (before.logins, before.adoptions + 1)
    assert sandbox.counters.connects == 2
    assert sandbox.counters.reuses == 0


@pytest.mark.report(87, 90)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("slow", ["vault", "server"])
async def test_who_takes_longer_than_a_lease_keeps_it(
    sandbox: Sandbox, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """A login that outlasts the lease is waited for: the others adopt its token."""
    seconds = 2.0
    monkeypatch.setattr(redis_store, "LEASE_SECONDS", seconds)
    monkeypatch.setattr(redis_store, "HEARTBEAT", seconds / 8)
    pause = 0.0

    async def vault() -> Credentials:
        await anyio.sleep(pause)
        return sandbox.credentials

    policy = RenewalPolicy(store_timeout=STORE_TIMEOUT)
    async with RedisTokenStore.from_url(redis_server.url) as store:
        auths = [
            TaxizerAuth(vault, base_url=sandbox.base_url, store=store, policy=policy)
            for _ in range(3)
        ]
        for auth in auths:
            await auth.token()
            await auth.forget()
        sandbox.reset_counters()
        if slow == "vault":
            pause = 1.5 * seconds
        else:
            sandbox.connect_latency = 1.5 * seconds
        async with anyio.create_task_group() as tasks:
            for auth in auths:
                tasks.start_soon(auth.token)

    assert sandbox.counters.connects == 1
    assert sum(auth.status().adoptions for auth in auths) == 2


def _lease_name(sandbox: Sandbox) -> str:
    return redis_store._keys("", StoreKey(sandbox.base_url, sandbox.client_id))[0]
