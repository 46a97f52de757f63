"""The holder of the lease is killed, or stopped and resumed later, during an exchange."""

from __future__ import annotations

import time

from collections.abc import Sequence

import anyio
import pytest

from taxizer_async import RenewalPolicy
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.stores._protocol import LEASE_SECONDS
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.fleet.fleet import Fleet, Worker, WorkerConfig
from tests.support.families import PATIENCE


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: What a busy machine may add; without the lease's end the wait is several times longer.
_SLACK = 10.0
assert RenewalPolicy().exchange_timeout > _SLACK + LEASE_SECONDS


@pytest.mark.report(84)
@pytest.mark.parametrize("where", ["connect", "refresh"])
def test_a_killed_holder_is_missed_soon(sandbox: Sandbox, config: WorkerConfig, where: str) -> None:
    """A killed holder's kernel lock ends at once, its lease in Redis within seconds; then another goes on."""
    with Fleet(sandbox, config) as fleet:
        holder, other = fleet.start(2)
        if where == "refresh":
            fleet.ask_all("burst 1")
            sandbox.revoke()
        before = sandbox.counters.connects
        with sandbox.hold(where) as gate:
            holder.order("burst 1")
            gate.wait_until(1, PATIENCE)
            other.order("burst 1")
            fleet.kill(holder)
            killed_at = time.monotonic()
        report = other.report()

    assert report.failures == []
    waited = report.last_answered - killed_at
    assert waited < (LEASE_SECONDS if config.store[0] == "redis" else 0) + _SLACK
    # The refresh token that was sent and never answered is spent.
    assert sandbox.counters.connects == before + (1 if where == "refresh" else 2)
    assert sandbox.counters.reuses == 0


def _stop_in_refresh(sandbox: Sandbox, config: WorkerConfig) -> tuple[int, int]:
    """Stop a holder in its refresh, let another go on, resume it; return the token of each."""
    with Fleet(sandbox, config) as fleet:
        holder, other = fleet.start(2)
        fleet.ask_all("burst 1")
        sandbox.revoke()
        with sandbox.hold("refresh") as gate:
            holder.order("burst 1")
            gate.wait_until(1, PATIENCE)
            holder.freeze()
            assert other.ask("burst 1").failures == []
        sandbox.wait_until(lambda counters: counters.refreshes_ok == 1, PATIENCE)
        carried = [_carried(sandbox, other)]
        holder.thaw()
        failed = holder.report().failures
        carried.insert(0, _carried(sandbox, holder, failed))
    return carried[0], carried[1]


def _carried(sandbox: Sandbox, worker: Worker, failed: Sequence[str] = ()) -> int:
    """Return the JWT that it sends, after requests that *failed* because it was stopped."""
    # A request that timed out meanwhile is retried a second later.
    assert all(failure.startswith("TokenEndpointUnavailableError") for failure in failed)
    end = time.monotonic() + PATIENCE
    before = sandbox.counters.resources_ok
    while sandbox.counters.resources_ok == before:
        assert time.monotonic() < end
        worker.ask("burst 1")
    number = sandbox.resource_log[-1].jwt_id
    assert number is not None
    return number


@pytest.mark.report(37, 48, 85, 86, 87, 89, 90)
def test_a_stopped_holder_overwrites_nothing(sandbox: Sandbox, config: WorkerConfig) -> None:
    """A resumed holder's lease has ended: its late save does nothing, and it adopts the newer token."""
    holders, others = _stop_in_refresh(sandbox, config)
    record = anyio.run(_load, sandbox, config)
    assert record is not None
    assert record.token.jwt.reveal() == sandbox.issued_jwts[others - 1]
    assert holders == others
    assert sandbox.counters.reuses == 0


async def _load(sandbox: Sandbox, config: WorkerConfig) -> TokenRecord | None:
    key = StoreKey(sandbox.base_url, sandbox.client_id)
    kind, where = config.store
    if kind == "file":
        return await FileTokenStore(where).load(key)
    async with RedisTokenStore.from_url(where) as store:
        return await store.load(key)
