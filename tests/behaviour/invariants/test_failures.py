"""Invariants 21 to 23 and 27: what is remembered of a failure, retries, and the user's own parts."""

from __future__ import annotations

import logging
import os
import threading
import time

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import (
    AuthError,
    Credentials,
    CredentialsRejectedError,
    LoggedIn,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taxizer_async import Event
    from taxizer_async.testing import ManualClock, Sandbox
    from tests.behaviour.auth.conftest import FleetFactory
    from tests.support.scripted_store import ScriptedStore


LIFETIME = 900.0
TRANSIENT = {
    "reset": Fault.reset(),
    "timeout": Fault.hang(),
    "truncated": Fault.truncate(),
    "429": Fault.status(429),
    "500": Fault.status(500),
    "503": Fault.status(503),
}


@pytest.mark.report(76)
@pytest.mark.report(78)
async def test_invariant_21_wrong_credentials_are_sent_once(
    sandbox: Sandbox, fleet: FleetFactory
) -> None:
    """Fifty waiters and two hundred later calls get their own refusal from one Connect."""
    sandbox.connect_latency = 0.2
    auth = TaxizerAuth(Credentials("sandbox-client", "wrong"), base_url=sandbox.base_url)
    async with fleet(auth) as clients:
        errors = await clients.send(50) + await clients.send(200)

    assert sandbox.counters.connects == 1
    assert len({id(error) for error in errors}) == 250
    assert all(isinstance(error, CredentialsRejectedError) for error in errors)
    assert "served from memory until" in str(errors[-1])
    assert "/v1/Auth/Connect" in str(errors[-1])


async def test_invariant_21_a_refused_pair_is_tried_again_after_a_minute(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """Credentials that were wrong are sent again after 60 s, as the server may have changed."""
    sandbox.change_secret("the old one")
    auth = make_auth(Credentials("sandbox-client", "the new one"))
    with pytest.raises(CredentialsRejectedError):
        await auth.token()
    sandbox.change_secret("the new one")
    clock.advance(59)
    with pytest.raises(CredentialsRejectedError):
        await auth.token()
    clock.advance(1)

    await auth.token()
    assert sandbox.counters.connects == 2


@pytest.mark.report(76)
async def test_invariant_21_a_changed_secret_is_tried_at_once(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """A refused pair is not sent again for 60 s; one that has changed is, after a second."""
    secrets = ["wrong"]

    def current() -> Credentials:
        return Credentials("sandbox-client", secrets[-1])

    auth = make_auth(current)
    for _ in range(20):
        with pytest.raises(CredentialsRejectedError):
            await auth.token()
        clock.advance(1)
    assert sandbox.counters.connects == 1

    secrets.append(sandbox.credentials.client_secret.reveal())
    await auth.token()
    assert sandbox.counters.connects_ok == 1


@pytest.mark.report(47)
@pytest.mark.report(78)
async def test_invariant_21_an_outage_fails_callers_at_once_until_the_next_try(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """Without a live token callers get the cause and the time of the next try; then it works again."""
    await aging_auth.token()
    clock.advance(LIFETIME + 1)
    sandbox.fail("refresh", Fault.status(503))
    sandbox.fail("connect", Fault.status(503))
    with pytest.raises(TokenEndpointUnavailableError) as first:
        await aging_auth.token()
    tried = sandbox.counters.exchanges
    with pytest.raises(TokenEndpointUnavailableError) as second:
        await aging_auth.token()

    assert sandbox.counters.exchanges == tried
    assert first.value is not second.value
    assert first.value.status_code == second.value.status_code == 503
    assert "the next try is at" in str(first.value)
    assert "served from memory until" in str(second.value)
    assert second.value.retry_at is not None
    assert second.value.retryable

    sandbox.heal()
    clock.advance(1)
    await aging_auth.token()
    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes) == (2, 1)


@pytest.mark.report(111)
async def test_invariant_21_outages_are_remembered_for_longer_and_longer(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """The server is asked again after 1 s, 2 s, 4 s … and then every 5 s."""
    auth = make_auth(policy=RenewalPolicy(backoff=60.0))
    sandbox.fail("connect", Fault.status(500))
    moments = []
    for second in range(23):
        before = sandbox.counters.connects
        with pytest.raises(TokenEndpointUnavailableError):
            await auth.token()
        if sandbox.counters.connects > before:
            moments.append(second)
        clock.advance(1)

    assert moments == [0, 1, 3, 7, 12, 17, 22]


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_invariant_22_a_login_is_tried_four_times(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock, fault: Fault
) -> None:
    """After three transient failures, with growing waits between, a fourth try succeeds."""
    # Three of them are over only then.
    seconds = 1.0 if fault is TRANSIENT["timeout"] else HANG
    auth = make_auth(policy=RenewalPolicy(attempt_timeout=seconds, exchange_timeout=3 * HANG))
    sandbox.fail("connect", fault, times=3)
    began = clock.monotonic()
    await auth.token()

    assert sandbox.counters.connects == 4
    # Jitter shortens 0.25 s, 0.5 s and 1 s by up to half.
    assert 0.875 <= clock.monotonic() - began < 1.75


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_invariant_22_a_refusal_is_final(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], status: int
) -> None:
    """What will not change by itself is not asked for again."""
    sandbox.fail("connect", Fault.status(status))
    with pytest.raises(AuthError):
        await make_auth().token()

    assert sandbox.counters.connects == 1


async def test_invariant_22_a_login_ends_with_its_time(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """Attempts go on for 30 s, at most 4 s apart; all of them are one typed error."""
    made = 0

    def http_client() -> httpx.AsyncClient:
        nonlocal made
        made += 1
        return httpx.AsyncClient()

    sandbox.fail("connect", Fault.status(500))
    began = clock.monotonic()
    with pytest.raises(TokenEndpointUnavailableError):
        await make_auth().token()
    assert 26 <= clock.monotonic() - began <= 30
    assert 10 <= sandbox.counters.connects <= 20

    sandbox.stop()
    with pytest.raises(TokenEndpointUnavailableError):
        await make_auth(http_client=http_client).token()
    assert 10 <= made <= 20


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7.0, 7.0),
        ("2.5", 2.5, 2.5),
        ("90", 30.0, 30.0),
        ("30,120", 30.0, 30.0),
        # Whole seconds, which both of the two dates are cut to.
        (lambda: formatdate(time.time() + 9, usegmt=True), 6.0, 9.0),
        ("soon", 0.125, 0.25),
        ("-1", 0.125, 0.25),
    ],
    ids=["seconds", "fraction", "long", "two", "date", "words", "negative"],
)
async def test_invariant_22_retry_after_is_honoured_up_to_30_s(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    clock: ManualClock,
    value: str | Callable[[], str],
    least: float,
    most: float,
) -> None:
    """In any form it lengthens the wait for the next try, and never breaks it."""
    auth = make_auth(policy=RenewalPolicy(exchange_timeout=60))
    text = value if isinstance(value, str) else value()
    sandbox.fail("connect", Fault.status(503, headers={"Retry-After": text}), times=1)
    began = clock.monotonic()
    await auth.token()

    assert least <= clock.monotonic() - began <= most
    assert sandbox.counters.connects == 2


async def test_invariant_22_a_single_try_ends_with_the_exchange(sandbox: Sandbox) -> None:
    """A try that could take longer by itself is over when the whole exchange has to be."""
    policy = RenewalPolicy(attempt_timeout=3 * HANG, exchange_timeout=0.1)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy)
    sandbox.fail("connect", Fault.hang())
    with anyio.fail_after(HANG), pytest.raises(TokenEndpointUnavailableError, match="no answer"):
        await auth.token()


@pytest.mark.parametrize(
    "fault",
    [
        Fault.junk(b"<html>", content_type="text/html"),
        Fault.junk(b"[" * 100_000),
        Fault.junk(b'["jwt"]'),
        Fault.junk(b'{"jwtToken": 17}'),
        Fault.junk(b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}),
        Fault.status(204),
        Fault.status(302, headers={"Location": "http://["}),
        Fault.status(404, body="<html>"),
        Fault.reset(),
        Fault.truncate(),
    ],
    ids=["html", "deep", "list", "number", "gzip", "204", "302", "404", "reset", "truncated"],
)
async def test_invariant_22_no_raw_error_comes_out(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], fault: Fault
) -> None:
    """Whatever is answered, the error is typed, and nothing of another library led to it."""
    sandbox.fail("connect", fault)
    with pytest.raises(AuthError) as caught:
        await make_auth().token()

    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "/v1/Auth/Connect" in str(caught.value)


async def test_invariant_23_a_hook_that_hangs_holds_up_nobody_else(sandbox: Sandbox) -> None:
    """While a hook hangs, those who waited for the login that it hears of go on."""
    hooked, go = anyio.Event(), anyio.Event()

    async def hang(event: Event) -> None:
        if isinstance(event, LoggedIn):
            hooked.set()
            await go.wait()

    policy = RenewalPolicy(hook_timeout=3 * HANG)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy, on_event=hang)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            with anyio.fail_after(HANG):
                async with anyio.create_task_group() as followers:
                    followers.start_soon(auth.token)
                    await anyio.wait_all_tasks_blocked()
                    gate.release()
        await hooked.wait()
        go.set()

    assert sandbox.counters.connects == 1


async def test_invariant_23_what_a_hook_raises_is_logged(
    make_auth: Callable[..., TaxizerAuth], caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that fails fails no caller, and the log says that it did."""

    def fail(_: Event) -> None:
        raise ZeroDivisionError

    auth = make_auth(on_event=fail)
    await auth.token()
    await auth.events_delivered()

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {record.name for record in errors} == {"taxizer_async"}
    assert "ZeroDivisionError" in errors[0].getMessage()


@pytest.mark.parametrize("operation", ["load", "save", "lease"])
async def test_invariant_27_what_a_store_raises_is_logged(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    caplog: pytest.LogCaptureFixture,
    operation: str,
) -> None:
    """A store that fails fails no caller, and the log says once that it did."""
    store.down = {operation}
    auth = make_auth()
    for _ in range(2):
        await auth.token()

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "OSError" in warnings[0].getMessage()
    assert sandbox.counters.exchanges == 1


async def test_invariant_23_clients_are_made_in_a_worker_thread(sandbox: Sandbox) -> None:
    """The loop's own thread makes no client, as that reads files."""
    makers: list[int] = []

    def http_client() -> httpx.AsyncClient:
        makers.append(threading.get_ident())
        return httpx.AsyncClient()

    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, http_client=http_client)
    await auth.token()

    assert len(makers) == 1
    assert threading.get_ident() not in makers


async def test_invariant_23_files_are_handled_in_worker_threads(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's own thread opens, syncs and replaces no file of a store's."""
    threads: set[int] = set()

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*arguments: Any, **options: Any) -> Any:
            threads.add(threading.get_ident())
            return call(*arguments, **options)

        return note

    for name in ("open", "fsync", "replace", "mkdir", "stat", "lstat"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    store = FileTokenStore(tmp_path / "tokens")
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
    # What else opens a file at the first login is not the store's.
    await TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url).token()
    threads.clear()
    await auth.token()
    await auth.forget()

    assert threads
    assert threading.get_ident() not in threads
