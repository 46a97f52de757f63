"""A call that is cancelled ends at once, loses no token, and shows nothing of what it sent."""

from __future__ import annotations

import asyncio
import itertools
import threading
import traceback

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async._outcomes import Issued, Outcome
from tests.cancellation.conftest import _note_points  # noqa: F401 - a fixture
from tests.cancellation.ways import WAY_NAMES, WAYS
from tests.limits import HANG

from .conftest import Asker
from .raw_server import hang, reset


if TYPE_CHECKING:
    import socket

    from collections.abc import Callable, Iterator
    from types import TracebackType

    from taxizer_async.testing import Sandbox
    from tests.cancellation.conftest import NotePoints
    from tests.cancellation.ways import Strike, Way

    from .raw_server import RawServer


TOKEN = b'{"jwtToken": "j-1"}'
#: A whole token, but not the end of the answer.
UNENDED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n" + TOKEN + b"\r\n"


def all_of(error: BaseException) -> Iterator[BaseException]:
    """Yield *error*, the members of the group that it is, and what led to them."""
    yield error
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *members):
        if other is not None:
            yield from all_of(other)


def frames_of(error: BaseException) -> str:
    """Show the locals of all frames of *error* that are not this folder's."""
    folder = str(Path(__file__).parent)
    return "\n".join(
        f"{frame.name}: {frame.locals}"
        for one in all_of(error)
        for frame in traceback.TracebackException.from_exception(one, capture_locals=True).stack
        if folder not in frame.filename
    )


async def ask(asker: Asker, call: str) -> Outcome:
    return await (asker.connect() if call == "connect" else asker.refresh("sandbox-secret"))


async def cancel_at(
    way: Way, k: int, asker: Asker, call: str
) -> tuple[Strike, list[BaseException]]:
    """Cancel a call at its k-th wait; return what came of it, and what it raised."""
    raised: list[BaseException] = []

    async def run() -> None:
        try:
            await ask(asker, call)
        except BaseException as error:
            raised.append(error)
            raise

    return await way(run, k), raised


@pytest.mark.parametrize("call", ["connect", "refresh"])
@pytest.mark.parametrize(("anyio_backend", "way"), WAYS, ids=WAY_NAMES)
async def test_a_call_can_be_cancelled_wherever_it_waits(
    sandbox: Sandbox, anyio_backend: str, way: Way, call: str, note_points: NotePoints
) -> None:
    """Cancelled at its k-th wait, for each k, a call ends as cancelled and hands over at most once."""
    assert anyio_backend in ("asyncio", "trio")
    # trio wraps a cancellation while it connects into a group.
    kinds = (anyio.get_cancelled_exc_class(), BaseExceptionGroup)
    for k in itertools.count(1):
        asker = Asker(sandbox.base_url)
        with anyio.fail_after(HANG):
            strike, raised = await cancel_at(way, k, asker, call)
        assert len(raised) == strike.cancelled
        assert len(asker.received) <= 1
        for error in raised:
            assert (error.__cause__, error.__context__) == (None, None)
            assert all(isinstance(one, kinds) for one in all_of(error))
            assert "sandbox-secret" not in frames_of(error)
        if not strike.struck:
            break
    note_points(k - 1, 8)


@pytest.mark.parametrize("call", ["connect", "refresh"])
@pytest.mark.parametrize(("anyio_backend", "way"), WAYS, ids=WAY_NAMES)
async def test_a_cancelled_call_hands_over_what_has_come(
    serve: Callable[..., RawServer], anyio_backend: str, way: Way, call: str
) -> None:
    """A token that is there is handed over by a call that is cancelled before the answer's end."""
    assert anyio_backend in ("asyncio", "trio")
    server = serve((UNENDED, hang))
    handed_over = 0
    for k in itertools.count(1):
        asker = Asker(server.base_url, attempt_timeout=1.0, attempts=1)
        strike, _ = await cancel_at(way, k, asker, call)
        handed_over = len(asker.received) if strike.cancelled else 0
        if handed_over or not strike.struck:
            break

    assert handed_over == 1


async def test_a_failing_answer_is_not_handed_over(serve: Callable[..., RawServer]) -> None:
    """Cancelled while a failing answer with a token in it comes in, a call hands over nothing."""
    sent = threading.Event()

    def tell(_: RawServer, __: socket.socket) -> None:
        sent.set()

    server = serve((UNENDED.replace(b"200 OK", b"404 No"), tell, hang))
    asker = Asker(server.base_url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asker.connect)
        await anyio.to_thread.run_sync(sent.wait, HANG)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert asker.received == []


class Parting(httpx.AsyncHTTPTransport):
    """A network that is not done with closing after a failure."""

    def __init__(self) -> None:
        super().__init__(verify=False)
        self.failed = anyio.Event()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            if isinstance(error, httpx.TransportError):
                self.failed.set()
                await anyio.sleep_forever()
        finally:
            await super().__aexit__(kind, error, trace)


@pytest.mark.parametrize("ending", [hang, reset], ids=["in-the-answer", "after-a-failure"])
@pytest.mark.parametrize(
    ("anyio_backend", "way"), [("asyncio", "scope"), ("asyncio", "native"), ("trio", "scope")]
)
async def test_a_cancellation_is_bare(
    serve: Callable[..., RawServer], anyio_backend: str, way: str, ending: Callable[..., None]
) -> None:
    """Whether it meets the answer or what follows a failure, it leaves with no cause, context or trace."""
    assert anyio_backend == "asyncio" or way == "scope"
    server = serve((ending,))
    transport = Parting()
    asker = Asker(server.base_url, http_client=lambda: httpx.AsyncClient(transport=transport))
    raised: list[BaseException] = []

    async def connect() -> None:
        try:
            await asker.connect()
        except BaseException as error:
            raised.append(error)
            raise

    async with anyio.create_task_group() as tasks:
        if way == "native":
            task = asyncio.create_task(connect())
        else:
            tasks.start_soon(connect)
        await (transport.failed.wait() if ending is reset else server.wait_for_requests(1))
        if way == "native":
            task.cancel()
            await asyncio.wait([task])
        else:
            tasks.cancel_scope.cancel()

    (error,) = raised
    assert isinstance(error, anyio.get_cancelled_exc_class())
    assert (error.__cause__, error.__context__) == (None, None)
    assert "sandbox-secret" not in frames_of(error)
    assert not any(frame.name == "_send" for frame in traceback.extract_tb(error.__traceback__))


async def test_other_interruptions_leave_as_bare(sandbox: Sandbox) -> None:
    """What is no Exception (here out of the user's factory) leaves unchanged but for its traces."""

    class Interruption(BaseException):
        pass

    interruption = Interruption()
    interruption.__context__ = ValueError("sandbox-secret")
    interruption.__cause__ = ValueError("sandbox-secret")

    def http_client() -> object:
        raise interruption

    asker = Asker(sandbox.base_url, http_client=http_client)  # type: ignore[arg-type]
    with pytest.raises(Interruption) as caught:
        await asker.connect()

    assert caught.value is interruption
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert not any(frame.name == "_open" for frame in traceback.extract_tb(caught.tb))


async def test_a_deadline_of_the_callers_holds(sandbox: Sandbox) -> None:
    """A caller's own timeout ends a call, and a later call works."""
    asker = Asker(sandbox.base_url)
    with sandbox.hold("connect"), anyio.move_on_after(0.1) as scope:
        await asker.connect()

    assert scope.cancelled_caught
    assert asker.received == []
    assert isinstance(await asker.connect(), Issued)
