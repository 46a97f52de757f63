"""Threads, files and descriptors: what needs them, what happens without them, and how a program ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from taxizer_async import AuthError, ConfigurationError, Credentials, TaxizerAuth
from taxizer_async._http.library import HttpLibrary
from taxizer_async.stores import StoreKey
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import auth_of
from tests.support.policies import ONE_TRY
from tests.support.threads import refuse_threads


@pytest.mark.invariant(23)
async def test_clients_are_made_in_a_worker_thread(sandbox: Sandbox) -> None:
    """An http_client is called in a worker thread, as making a client reads files."""
    makers: list[int] = []

    def http_client() -> httpx.AsyncClient:
        makers.append(threading.get_ident())
        return httpx.AsyncClient()

    auth = auth_of(sandbox, http_client=http_client)
    await auth.token()

    assert len(makers) == 1
    assert threading.get_ident() not in makers


@pytest.mark.invariant(23)
async def test_files_are_handled_in_worker_threads(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file store opens, syncs and replaces files in worker threads only."""
    threads: set[int] = set()

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*arguments: Any, **options: Any) -> Any:
            threads.add(threading.get_ident())
            return call(*arguments, **options)

        return note

    for name in ("open", "fsync", "replace", "mkdir", "stat", "lstat"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    store = FileTokenStore(tmp_path / "tokens")
    auth = auth_of(sandbox, store=store)
    # What else opens a file at the first login is not the store's.
    await auth_of(sandbox).token()
    threads.clear()
    await auth.token()
    assert await store.load(StoreKey(sandbox.base_url, sandbox.credentials.client_id))
    await auth.forget()

    assert threads
    assert threading.get_ident() not in threads


#: Seconds after which a program has not ended.
END = 50.0


@pytest.fixture(name="secret_file")
def _secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the sandbox's credentials in the environment, the secret by this file."""
    file = tmp_path / "secret"
    file.write_text("sandbox-secret\n")
    monkeypatch.setenv("TAXIZER_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET_FILE", str(file))
    return file


@pytest.mark.invariant(22)
@pytest.mark.report(130)
async def test_a_lack_of_threads_passes(
    sandbox: Sandbox, clock: ManualClock, secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that finds no thread for a callable fails with a retryable error, and succeeds a second later."""
    assert secret_file.exists()
    auth = TaxizerAuth(Credentials.from_env, base_url=sandbox.base_url, clock=clock)
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        with pytest.raises(AuthError, match="no thread can be started") as caught:
            await auth.token()
    clock.advance(1)

    assert caught.value.retryable
    assert (await auth.token()).jwt.reveal()


@pytest.mark.invariant(22)
@pytest.mark.report(130)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="descriptors are counted otherwise")
async def test_a_lack_of_descriptors_passes(
    sandbox: Sandbox, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that finds no descriptor fails with a retryable error, and succeeds once there is one."""
    # One that has read no bundle yet.
    monkeypatch.setattr(TaxizerAuth, "_library", HttpLibrary(httpx))
    auth = auth_of(sandbox, clock=clock, policy=ONE_TRY)
    taken: list[int] = []
    try:
        try:
            while True:
                taken.append(os.dup(0))
        except OSError as full:
            del full
        with pytest.raises(AuthError) as caught:
            await auth.token()
    finally:
        for each in taken:
            os.close(each)
    clock.advance(1)

    assert caught.value.retryable
    assert "Too many open files" in str(caught.value)
    assert (await auth.token()).jwt.reveal()


@pytest.mark.invariant(22)
@pytest.mark.report(130)
@pytest.mark.parametrize("content", [None, "", "\n"], ids=["gone", "empty", "blank"])
async def test_a_secret_that_is_being_replaced_passes(
    sandbox: Sandbox, clock: ManualClock, secret_file: Path, content: str | None
) -> None:
    """A secret file that is empty or gone is a wrong configuration at the start, and retryable later."""
    auth = TaxizerAuth(Credentials.from_env, base_url=sandbox.base_url, clock=clock)
    secret_file.unlink()
    if content is not None:
        secret_file.write_text(content)
    with pytest.raises(AuthError) as caught:
        await auth.token()
    with pytest.raises(ConfigurationError):
        Credentials.from_env()
    secret_file.write_text("sandbox-secret\n")
    clock.advance(1)

    assert caught.value.retryable
    assert "secret" in str(caught.value).lower()
    assert (await auth.token()).jwt.reveal()


FLUSH = """
import asyncio, atexit, sys, threading

import anyio, httpx
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async.stores.file import FileTokenStore

base_url, backend, given, threads, folder = sys.argv[1:]
if backend == "trio":
    import trio  # as it exits, that is too late

def read():
    return Credentials("sandbox-client", "sandbox-secret")

credentials = read() if given == "value" else read
store = FileTokenStore(folder) if given == "store" else None
auth = TaxizerAuth(credentials, base_url=base_url, store=store)

async def flush():
    async with httpx.AsyncClient(auth=auth, base_url=base_url) as client:
        print((await client.post("/v1/Devices/Register")).status_code)

def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

@atexit.register
def at_exit():
    if threads == "none":
        threading.Thread.start = refuse
    anyio.run(flush, backend=backend)
"""


@pytest.mark.invariant(23)
@pytest.mark.report(131)
@pytest.mark.parametrize("threads", ["as they are", "none"])
@pytest.mark.parametrize("given", ["value", "callable", "store"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_can_flush_as_it_exits(
    sandbox: Sandbox, tmp_path: Path, backend: str, given: str, threads: str
) -> None:
    """A login in an atexit handler works, though no thread can be started there in Python 3.12."""
    folder = str(tmp_path / "tokens")
    command = [sys.executable, "-c", FLUSH, sandbox.base_url, backend, given, threads, folder]
    done = subprocess.run(command, capture_output=True, check=True, timeout=END, text=True)

    assert (done.stdout, done.stderr) == ("200\n", "")
    assert sandbox.counters.connects_ok == 1


HANG_AND_END = """
import sys, threading

import anyio, httpx
from taxizer_async import AuthError, Credentials, RenewalPolicy, TaxizerAuth
from taxizer_async.stores import file

base_url, backend, what, folder = sys.argv[1:]
pair = Credentials("sandbox-client", "sandbox-secret")
called = []

def hang(*_):
    called.append(threading.current_thread())
    threading.Event().wait()

async def main():
    options = {"credentials": pair}
    if what == "callable":
        options["credentials"] = hang
    elif what == "http_client":
        options["http_client"] = hang
    else:
        file.FileTokenStore._load = hang
        options["store"] = file.FileTokenStore(folder)
    policy = RenewalPolicy(
        exchange_timeout=0.2, attempt_timeout=0.2, store_timeout=0.2, outage_backoff=0.001
    )
    auth = TaxizerAuth(base_url=base_url, policy=policy, **options)
    for _ in range(6):
        try:
            await auth.token()
            await auth.forget()
        except AuthError as error:
            assert error.retryable
        await anyio.sleep(0.01)
    print(len(called))

anyio.run(main, backend=backend)
"""


@pytest.mark.invariant(23)
@pytest.mark.report(133)
@pytest.mark.parametrize("what", ["callable", "http_client", "store"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_hangs_does_not_keep_a_program(
    sandbox: Sandbox, tmp_path: Path, backend: str, what: str
) -> None:
    """A program ends even if its callables still hang in threads."""
    folder = str(tmp_path / "tokens")
    command = [sys.executable, "-c", HANG_AND_END, sandbox.base_url, backend, what, folder]
    done = subprocess.run(command, capture_output=True, check=True, timeout=END, text=True)

    calls = int(done.stdout)
    assert calls >= 4 if what == "store" else calls == 4
