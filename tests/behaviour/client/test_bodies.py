"""Bodies that only httpx and httpx2 know, sent with a revoked token."""

from __future__ import annotations

import io

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from taxizer_async.testing import Sandbox
from tests.support.callers import PATH, arrived

from .libraries import Library


@pytest.fixture(name="client")
async def _client(sandbox: Sandbox, library: Library) -> AsyncIterator[Any]:
    async with library.taxizer_client(sandbox) as client:
        await client.get("/v1/x")
        sandbox.revoke()
        sandbox.reset_counters()
        yield client


async def chunks() -> AsyncIterator[bytes]:
    yield b"in"
    yield b"voice"


class Pipe(io.BytesIO):
    """Can't be rewound."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation


class Closing(io.BytesIO):
    """Is closed at its end."""

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(size)
        if not chunk:
            self.close()
        return chunk


class Reader:
    """Can be read, and nothing else."""

    def __init__(self, content: bytes) -> None:
        self._content = [content]

    def read(self, _size: int = -1) -> bytes:
        return self._content.pop() if self._content else b""


@pytest.mark.invariant(16)
@pytest.mark.parametrize("make", [Pipe, Closing, Reader])
async def test_a_multipart_with_a_pipe_gets_its_401_back(
    sandbox: Sandbox, client: Any, make: Callable[[bytes], object]
) -> None:
    """A form with a file that can't be rewound is not sent again; the next request has a new token."""
    answer = await client.post(PATH, files={"f": make(b"invoice")})
    again = await client.post(PATH, files={"f": make(b"invoice")})

    assert (answer.status_code, again.status_code) == (401, 200)
    assert answer.json()["title"] == "Unauthorized"
    assert [b"\r\ninvoice\r\n" in entry.body for entry in sandbox.resource_log] == [True, True]
    assert sandbox.counters.exchanges == 1


@pytest.mark.report(43)
@pytest.mark.parametrize("kind", ["generator", "file"])
async def test_a_sync_stream_is_the_librarys_to_refuse(
    sandbox: Sandbox, client: Any, kind: str
) -> None:
    """A sync iterator in an async client is the library's own error, and nothing is sent."""

    def sync_chunks() -> Iterator[bytes]:
        yield b"invoice"

    content = sync_chunks() if kind == "generator" else io.BytesIO(b"invoice")
    with pytest.raises(RuntimeError, match="sync request with an AsyncClient"):
        await client.post(PATH, content=content)

    assert sandbox.counters.resources == 0


@pytest.mark.invariant(16)
async def test_a_stream_that_was_read_is_sent_again(sandbox: Sandbox, client: Any) -> None:
    """Once a stream was read into memory, by the caller or by a hook, its body is sent again."""

    async def read(request: Any) -> None:
        await request.aread()

    client.event_hooks = {"request": [read]}
    request = client.build_request("POST", PATH, content=chunks())
    await request.aread()
    answer = await client.send(request)

    assert answer.status_code == 200
    assert arrived(sandbox) == [(401, b"invoice"), (200, b"invoice")]


async def test_a_401_of_a_stream_can_be_streamed(sandbox: Sandbox, client: Any) -> None:
    """The body of a 401 that is handed back is left for the caller to stream."""
    async with client.stream("POST", PATH, content=chunks()) as answer:
        assert answer.status_code == 401
        assert not answer.is_stream_consumed
        body = await answer.aread()

    assert b"Unauthorized" in body
    assert sandbox.counters.resources == 1
