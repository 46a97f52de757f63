from __future__ import annotations

import functools
import threading

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from taxizer_async import ConfigurationError, Credentials
from taxizer_async._core.exchange import Misconfigured
from taxizer_async._token.credentials_source import CredentialsSource, ask_credentials
from taxizer_async._token.failures import CredentialsUnavailable
from tests.support.limits import HANG
from tests.support.threads import refuse_threads


PAIR = Credentials("app", "s3cret")


class Vault:
    """An object with an async `__call__`."""

    async def __call__(self) -> Credentials:
        await anyio.lowlevel.checkpoint()
        return PAIR


class LazyVault:
    """An object with a sync `__call__` that returns a coroutine."""

    def __call__(self) -> Any:
        return Vault()()


async def _fetch(secret: str = "s3cret") -> Credentials:
    await anyio.lowlevel.checkpoint()
    return _read(secret)


def _read(secret: str = "s3cret") -> Credentials:
    return Credentials("app", secret)


@pytest.fixture(name="gate")
def _gate() -> Iterator[threading.Event]:
    """Release waiting threads, at the latest when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.report(31)
@pytest.mark.parametrize(
    "given",
    [
        pytest.param(PAIR, id="a value"),
        pytest.param(_read, id="a function"),
        pytest.param(lambda: PAIR, id="a lambda"),
        pytest.param(functools.partial(_read, "s3cret"), id="a partial"),
        pytest.param(_fetch, id="a coroutine function"),
        pytest.param(functools.partial(_fetch, "s3cret"), id="a partial of one"),
        pytest.param(lambda: _fetch("s3cret"), id="a lambda that returns a coroutine"),
        pytest.param(Vault(), id="an object with an async call"),
        pytest.param(LazyVault(), id="an object that returns a coroutine"),
        pytest.param(Vault().__call__, id="a bound method"),
    ],
)
async def test_gives_credentials(given: Any) -> None:
    """Credentials come from a value or from any callable, sync or async (report 31)."""
    assert await ask_credentials(CredentialsSource(given), seconds=5) == PAIR


def test_fixed() -> None:
    """Only credentials given by value are known before they are asked for."""
    assert CredentialsSource(PAIR).fixed is PAIR
    assert CredentialsSource(_read).fixed is None
    assert CredentialsSource(_fetch).fixed is None


@pytest.mark.report(31)
@pytest.mark.parametrize("given", [None, "app", ("app", "s"), 7, Credentials, Vault], ids=repr)
def test_refuses_others(given: Any) -> None:
    """Anything but credentials or a callable is refused, and its type is named."""
    kind = type(given).__name__
    with pytest.raises(ConfigurationError, match=f"^credentials must be Credentials .*not {kind}$"):
        CredentialsSource(given).check()


@pytest.mark.report(30)
async def test_a_sync_callable_does_not_block(gate: threading.Event) -> None:
    """While a sync callable blocks in its thread, the event loop goes on (report 30)."""
    threads: list[int] = []
    waited: list[bool] = []

    def blocking() -> Credentials:
        threads.append(threading.get_ident())
        waited.append(gate.wait(10))
        return PAIR

    async def open_gate() -> None:
        gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_gate)
        assert await ask_credentials(CredentialsSource(blocking), seconds=20) == PAIR

    assert waited == [True]
    assert threads != [threading.get_ident()]


async def test_an_async_callable_stays_in_the_loop() -> None:
    """An async callable runs in the event loop, where its connections live."""
    threads: list[int] = []

    async def ident() -> Credentials:
        threads.append(threading.get_ident())
        return PAIR

    await ask_credentials(CredentialsSource(ident), seconds=5)

    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("error", [OSError, KeyError, StopIteration, TimeoutError, SystemExit])
async def test_raising(is_async: bool, error: type[BaseException], canary: str) -> None:
    """What a callable raises is reported by its class, without its text."""

    def broken() -> Credentials:
        raise error(canary)

    async def async_broken() -> Credentials:
        return broken()

    source = CredentialsSource(async_broken if is_async else broken)
    answer = await ask_credentials(source, seconds=5)
    # Neither coroutines nor threads can raise StopIteration.
    name = "RuntimeError" if error is StopIteration else error.__name__

    assert answer == CredentialsUnavailable(f"raised {name}")


async def test_a_configuration_error_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own error about the environment is passed on in full."""
    monkeypatch.setenv("TAXIZER_CLIENT_ID", "app")
    answer = await ask_credentials(CredentialsSource(Credentials.from_env), seconds=5)

    assert isinstance(answer, Misconfigured)
    assert answer.reason.startswith("TAXIZER_CLIENT_SECRET is not set")


@pytest.mark.report(131)
@pytest.mark.parametrize("given", [PAIR, _fetch], ids=["a value", "async"])
async def test_what_needs_no_thread_uses_none(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials by value nor an async callable need a thread."""
    refuse_threads(monkeypatch)

    assert await ask_credentials(CredentialsSource(given), seconds=5) == PAIR


@pytest.mark.report(133)
async def test_sync_callables_that_hang_are_bounded(gate: threading.Event) -> None:
    """Four calls may hang; then the callable is not called until one returns."""
    called: list[int] = []

    def hang() -> Credentials:
        called.append(1)
        gate.wait(HANG)
        return PAIR

    source = CredentialsSource(hang)
    answers = [await ask_credentials(source, seconds=0.0099999) for _ in range(6)]

    told = ["returned nothing within 0.01 s"] * 4
    told += ["has not returned from 4 earlier calls, and needs a time-out of its own"] * 2
    assert answers == [CredentialsUnavailable(reason) for reason in told]
    assert called == [1] * 4


@pytest.mark.parametrize("value", [None, "s3cret", ("app", "s3cret")], ids=repr)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_wrong_return(value: Any, is_async: bool) -> None:
    """A callable that returns something else is a mistake, reported by type only."""

    async def give() -> Any:
        return value

    source = CredentialsSource(give if is_async else lambda: value)
    answer = await ask_credentials(source, seconds=5)

    assert answer == Misconfigured(
        reason=f"the credentials callable returned {type(value).__name__}, not Credentials"
    )


async def test_a_hanging_async_callable() -> None:
    """An async callable that hangs is abandoned."""

    async def hang() -> Credentials:
        await anyio.sleep_forever()
        return PAIR

    with anyio.fail_after(HANG):
        answer = await ask_credentials(CredentialsSource(hang), seconds=0.01)

    assert answer == CredentialsUnavailable("returned nothing within 0.01 s")


def test_a_partial_is_not_shown(canary: str) -> None:
    """The repr of a source does not show the credentials."""
    source = CredentialsSource(functools.partial(_read, canary))

    assert canary not in repr(source)
    assert canary not in str(source)
    assert not hasattr(source, "__dict__")


async def test_a_cancelled_partial_is_not_shown(
    canary: str, gate: threading.Event, leaks: Callable[[BaseException], list[str]]
) -> None:
    """A timeout while a callable runs leaves no traceback with its arguments."""

    def blocking(secret: str) -> Credentials:
        gate.wait(30)
        return Credentials("app", secret)

    source = CredentialsSource(functools.partial(blocking, canary))
    with pytest.raises(TimeoutError) as caught, anyio.fail_after(0.01):
        await ask_credentials(source, seconds=20)

    assert leaks(caught.value) == []
