"""A directory that fails and recovers: requests go on, and each change is reported once."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import ssl
import threading

from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from taxizer_async import Event, RenewalPolicy, TaxizerAuth
from taxizer_async.stores import _file_lease, _private_directory
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Sandbox
from tests.support.families import PATIENCE


@contextlib.contextmanager
def _missing(folder: Path) -> Iterator[None]:
    """Something else is in the directory's place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()


@contextlib.contextmanager
def _open_to_others(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    try:
        yield
    finally:
        folder.chmod(0o700)


@contextlib.contextmanager
def _refusing(number: int) -> Iterator[None]:
    """No file can be written; not by its mode, which does not stop root."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_private_directory.PrivateDirectory, "_write", refuse)
        yield


@contextlib.contextmanager
def _slow(_: Path) -> Iterator[None]:
    """The file system does not answer until this ends."""
    over = threading.Event()
    check = _private_directory.PrivateDirectory._check

    def wait(directory: _private_directory.PrivateDirectory) -> None:
        over.wait(PATIENCE)
        check(directory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_private_directory.PrivateDirectory, "_check", wait)
        try:
            yield
        finally:
            over.set()


#: Without TLS: loopback needs none, and CA bundles take long to read.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

FAULTS: dict[str, tuple[Callable[[Path], contextlib.AbstractContextManager[None]], str]] = {
    "missing": (_missing, "is not a directory"),
    "open to others": (_open_to_others, "can be written to by others"),
    "read-only": (lambda _: _refusing(errno.EROFS), os.strerror(errno.EROFS)),
    "full": (lambda _: _refusing(errno.ENOSPC), os.strerror(errno.ENOSPC)),
    "unwritable": (lambda _: _refusing(errno.EACCES), os.strerror(errno.EACCES)),
    "slow": (_slow, "no answer within 0.5 s"),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.slow] if f == "slow" else []) for f in FAULTS]
)
@pytest.mark.timeout(300)
async def test_requests_go_on_and_the_store_is_used_again(
    sandbox: Sandbox, tmp_path: Path, fault: str
) -> None:
    """The directory fails and recovers twice: each request gets a token, and each change is one event."""
    told: list[Event] = []
    folder = tmp_path / "tokens"
    # Only a silent store is waited for.
    store_timeout = 0.5 if fault == "slow" else 20.0
    policy = RenewalPolicy(store_timeout=store_timeout, unauthorized_budget=10_000)

    def make_auth(told: list[Event]) -> TaxizerAuth:
        return TaxizerAuth(
            sandbox.credentials,
            base_url=sandbox.base_url,
            store=FileTokenStore(folder),
            policy=policy,
            on_event=told.append,
        )

    async def is_shared() -> bool:
        exchanges = sandbox.counters.exchanges
        await make_auth(told=[]).token()
        return sandbox.counters.exchanges == exchanges

    auth = make_auth(told)
    await auth.token()
    break_it, text = FAULTS[fault]
    async with httpx.AsyncClient(
        auth=auth, base_url=sandbox.base_url, trust_env=False, verify=NO_TLS, timeout=PATIENCE
    ) as client:
        for _ in range(2):
            with break_it(folder):
                for _ in range(3):
                    await _renew(sandbox, client)
            with anyio.fail_after(PATIENCE):
                while auth.status().store_failing or not await is_shared():
                    await _renew(sandbox, client)
    await auth.events_delivered()

    store_events = [event for event in told if type(event).__name__.startswith("Store")]
    names = [type(event).__name__ for event in store_events]
    assert names == ["StoreFailed", "StoreRecovered"] * (len(names) // 2)
    # A stall of a busy machine may look like a silent store.
    assert len(names) == 4 or (fault == "slow" and len(names) > 4)
    assert all(text in str(event) for event in store_events[::2])


@pytest.mark.report(153)
async def test_a_directory_that_can_only_be_read_is_read(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that start while no file can be written or locked use the good token that is there."""
    folder = tmp_path / "tokens"
    auths = [
        TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=FileTokenStore(folder))
        for _ in range(3)
    ]
    token = await auths[0].token()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(_file_lease.LeaseAttempt, "take", refuse)
    with _refusing(errno.EROFS):
        for auth in auths:
            assert (await auth.token()).jwt == token.jwt

    assert sandbox.counters.exchanges == 1
    assert not any(auth.status().store_failing for auth in auths)


async def _renew(sandbox: Sandbox, client: httpx.AsyncClient) -> None:
    """Make the server refuse all tokens; *client* still gets through."""
    sandbox.revoke()
    response = await client.post("/v1/Invoices", json={})
    assert response.status_code == httpx.codes.OK
