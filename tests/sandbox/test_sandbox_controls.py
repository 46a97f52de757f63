from __future__ import annotations

import anyio
import httpx
import pytest

from taxizer_async.testing import Sandbox
from tests.support.limits import HANG

from .caller import CONNECT, REGISTER, Caller, in_thread


def test_the_secret_can_be_changed(sandbox: Sandbox, caller: Caller) -> None:
    """After a change only the new secret is accepted, and tokens stay good."""
    jwt = caller.jwt()
    sandbox.change_secret("new-secret")

    assert caller.connect("sandbox-secret").status_code == 400
    assert caller.connect("new-secret").status_code == 200
    assert sandbox.credentials.client_secret.reveal() == "new-secret"
    assert caller.register(jwt).status_code == 200


def test_counters_tell_what_happened(sandbox: Sandbox, caller: Caller) -> None:
    """Each request is counted once, by endpoint, outcome and path."""
    token = caller.token()
    caller.connect("wrong")
    caller.refresh(token["refreshToken"])
    caller.refresh("unknown")
    caller.register(token["jwtToken"])
    caller.register("wrong")
    counters = sandbox.counters

    assert (counters.connects, counters.connects_ok) == (2, 1)
    assert (counters.refreshes, counters.refreshes_ok) == (2, 1)
    assert counters.exchanges == 4
    assert (counters.resources, counters.resources_ok) == (2, 1)
    assert counters.unauthorized == 1
    assert counters.max_concurrent_exchanges == 1
    assert counters.by_path[REGISTER] == 2


def test_a_snapshot_does_not_change(sandbox: Sandbox, caller: Caller) -> None:
    """A snapshot of the counters does not change with later requests."""
    before = sandbox.counters
    caller.connect()

    assert (before.connects, dict(before.by_path)) == (0, {})
    assert sandbox.counters.connects == 1


def test_counters_and_logs_start_over(sandbox: Sandbox, caller: Caller) -> None:
    """A reset empties counters and logs, and forgets no token."""
    jwt = caller.jwt()
    caller.register(jwt)
    sandbox.reset_counters()

    assert sandbox.counters.exchanges == sandbox.counters.resources == 0
    assert sandbox.counters.max_concurrent_exchanges == 0
    assert (sandbox.exchange_log, sandbox.resource_log) == ((), ())
    assert caller.register(jwt).status_code == 200


def test_the_exchange_log_tells_of_each_exchange(sandbox: Sandbox, caller: Caller) -> None:
    """The exchange log has kind, status, times, and whether there was an Authorization header."""
    token = caller.token()
    headers = {"Authorization": "Bearer x"}
    caller.client.post(CONNECT, json={}, headers=headers)
    caller.refresh(token["refreshToken"])
    log = sandbox.exchange_log

    assert [entry.kind for entry in log] == ["connect", "connect", "refresh"]
    assert [entry.status for entry in log] == [200, 400, 200]
    assert [entry.had_authorization_header for entry in log] == [False, True, False]
    assert all(entry.started_at <= entry.finished_at for entry in log)


def test_the_resource_log_tells_of_each_request(sandbox: Sandbox, caller: Caller) -> None:
    """The resource log has method, path, status, body, and the number of the JWT."""
    first, second = caller.jwt(), caller.jwt()
    caller.register(second, b"one")
    sandbox.revoke()
    caller.register(first, b"two")
    caller.register("unknown")
    log = sandbox.resource_log

    assert [entry.status for entry in log] == [200, 401, 401]
    assert [entry.jwt_id for entry in log] == [2, 1, None]
    assert [entry.body for entry in log] == [b"one", b"two", b"{}"]
    assert (log[0].method, log[0].path) == ("POST", REGISTER)
    assert log[0].received_at < log[1].received_at


def test_the_resource_log_is_bounded(
    sandbox: Sandbox, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resource log drops its oldest entries when there are too many, or too many bytes of bodies."""
    state = "taxizer_async.testing._sandbox.recorder"
    monkeypatch.setattr(f"{state}.LOG_ENTRIES", 2)
    monkeypatch.setattr(f"{state}.LOG_BYTES", 10)
    for body in (b"1", b"2", b"3"):
        caller.register("none", body)
    few = [entry.body for entry in sandbox.resource_log]
    caller.register("none", b"123456789")

    assert few == [b"2", b"3"]
    assert [entry.body for entry in sandbox.resource_log] == [b"3", b"123456789"]

    caller.register("none", b"12")
    assert [entry.body for entry in sandbox.resource_log] == [b"12"]


def test_a_gate_holds_requests_before_they_are_processed(sandbox: Sandbox, caller: Caller) -> None:
    """A held request is counted, waits, and is processed only after the release."""
    gate = sandbox.hold("connect")
    answers = [in_thread(caller.connect) for _ in range(3)]
    gate.wait_until(3)
    sandbox.change_secret("changed-while-held")

    assert gate.waiting == 3
    assert "3 waiting" in repr(gate)
    assert sandbox.counters.connects == 3
    assert sandbox.counters.max_concurrent_exchanges == 3
    assert sandbox.issued_jwts == ()

    gate.release()

    assert [answer.result(HANG).status_code for answer in answers] == [400] * 3
    assert gate.waiting == 0
    assert "released" in repr(gate)


def test_a_gate_leaves_other_places_alone(sandbox: Sandbox, caller: Caller) -> None:
    """A gate holds requests to its path only, and none after its block."""
    jwt = caller.jwt()
    with sandbox.hold(REGISTER) as gate:
        held = in_thread(lambda: caller.register(jwt))
        gate.wait_until(1)

        assert caller.get("/v1/other", jwt).status_code == 200

    assert held.result(HANG).status_code == 200
    assert caller.register(jwt).status_code == 200


def test_two_gates_at_one_place_both_hold(sandbox: Sandbox, caller: Caller) -> None:
    """A request passes once each of its gates is released."""
    first, second = sandbox.hold("connect"), sandbox.hold(CONNECT)
    answer = in_thread(caller.connect)
    first.wait_until(1)
    first.release()
    second.wait_until(1)

    assert not answer.done()

    second.release()

    assert answer.result(HANG).status_code == 200


def test_a_held_request_whose_client_leaves_is_processed_all_the_same(
    sandbox: Sandbox, caller: Caller
) -> None:
    """A request no longer counts as waiting once its client has left, but the server processes it."""
    token = caller.token()
    gate = sandbox.hold("refresh")
    body = {"refreshToken": token["refreshToken"]}
    with pytest.raises(httpx.ReadTimeout):
        caller.client.post(
            "/v1/Auth/AppRefreshToken", json=body, timeout=httpx.Timeout(HANG, read=0.2)
        )
    second = in_thread(lambda: caller.refresh("unknown"))
    gate.wait_until(1)
    with pytest.raises(TimeoutError):
        gate.wait_until(2, timeout=0.2)

    assert sandbox.counters.max_concurrent_exchanges == 1

    gate.release()
    sandbox.wait_until(lambda counters: counters.refreshes_ok == 1)

    assert second.result(HANG).status_code == 400


def test_a_gate_that_no_request_reaches_says_so(sandbox: Sandbox) -> None:
    """Waiting for requests that don't come ends with an error that says how many came."""
    with pytest.raises(TimeoutError, match="0 of 1 requests reached connect"):
        sandbox.hold("connect").wait_until(1, timeout=0.01)


def test_a_condition_that_never_holds_times_out(sandbox: Sandbox) -> None:
    """Waiting in vain for a count ends with an error that shows the counters."""
    with pytest.raises(TimeoutError, match="connects=0"):
        sandbox.wait_until(lambda counters: counters.connects == 1, timeout=0.01)


async def test_async_code_can_wait_too(sandbox: Sandbox) -> None:
    """Gates and counts can be awaited, on either backend."""
    gate = sandbox.hold("connect")
    async with (
        httpx.AsyncClient(base_url=sandbox.base_url) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.get, CONNECT)
        await gate.wait_until_async(1)
        await sandbox.wait_until_async(lambda counters: counters.connects == 1)
        gate.release()

    assert sandbox.exchange_log[0].status == 405


@pytest.mark.parametrize("place", ["connect", "refresh", "resource"])
def test_latency_delays_its_own_place(sandbox: Sandbox, caller: Caller, place: str) -> None:
    """A latency delays the requests of its group, and no others."""
    token = caller.token()
    setattr(sandbox, f"{place}_latency", 0.1)
    took = {
        "connect": caller.connect().elapsed.total_seconds(),
        "refresh": caller.refresh(token["refreshToken"]).elapsed.total_seconds(),
        "resource": caller.register(token["jwtToken"]).elapsed.total_seconds(),
    }

    assert took.pop(place) >= 0.1
    assert max(took.values()) < 0.1
