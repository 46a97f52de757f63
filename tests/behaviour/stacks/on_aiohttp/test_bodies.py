"""Which bodies aiohttp sends again after a 401."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from aiohttp.base_protocol import BaseProtocol

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Sandbox
from tests.support.callers import arrived, auth_of
from tests.support.limits import HANG

from .conftest import open_session, status_of


@pytest.fixture(name="session")
async def _session(sandbox: Sandbox, auth: TaxizerAuth) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with a revoked token."""
    async with open_session(auth) as session:
        await status_of(session)
        sandbox.revoke()
        sandbox.reset_counters()
        yield session


@pytest.mark.parametrize(
    ("build", "body"),
    [
        (lambda: {"data": bytearray(b"invoice")}, b"invoice"),
        (lambda: {"data": memoryview(b"invoice")}, b"invoice"),
        (lambda: {"data": io.StringIO("invoice")}, b"invoice"),
        (lambda: {"data": aiohttp.FormData({"a": "1"})}, b"a=1"),
        (lambda: {"data": aiohttp.JsonPayload({"a": 1})}, b'{"a": 1}'),
        (lambda: {"data": b"invoice", "chunked": True}, b"invoice"),
        (lambda: {"data": b"invoice", "expect100": True}, b"invoice"),
    ],
    ids=["bytearray", "memoryview", "text-io", "form", "payload", "chunked", "expect"],
)
async def test_what_aiohttp_keeps_in_memory_is_sent_again(
    sandbox: Sandbox,
    session: aiohttp.ClientSession,
    build: Callable[[], dict[str, Any]],
    body: bytes,
) -> None:
    """Each kind of payload that is bytes, in each way to send it, arrives twice and whole."""
    assert await status_of(session, **build()) == 200
    assert arrived(sandbox) == [(401, body), (200, body)]


async def test_a_compressed_body_is_sent_again(
    sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    """A body that aiohttp compresses is compressed again for the resend."""
    assert await status_of(session, data=b"invoice" * 100, compress="deflate") == 200
    (_, first), (_, second) = arrived(sandbox)
    assert first == second != b""


@pytest.mark.parametrize("kind", ["file", "half-read", "bytes-io", "text-file", "multipart"])
async def test_a_file_that_can_be_rewound_is_sent_again(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path, kind: str
) -> None:
    """Open files, by themselves and in a form, arrive twice and whole."""
    file = tmp_path / "sent"
    file.write_bytes(b"invoice")

    def body() -> Any:
        if kind == "file":
            return file.open("rb")
        if kind == "text-file":
            return file.open("r", encoding="ascii")
        if kind == "bytes-io":
            return io.BytesIO(b"invoice")
        if kind == "half-read":
            opened = (tmp_path / "more").open("w+b")
            opened.write(b"read before: invoice")
            opened.seek(len(b"read before: "))
            return opened
        data = aiohttp.FormData()
        data.add_field("f", file.open("rb"))
        return data

    assert await status_of(session, data=body()) == 200
    (refused, first), (accepted, second) = arrived(sandbox)
    assert (refused, accepted) == (401, 200)
    assert first == second
    assert first.count(b"invoice") == 1
    assert b"read before" not in first


@pytest.mark.parametrize("kind", ["reader", "pipe", "multipart"])
async def test_what_can_be_read_but_once_gets_its_401_back(
    sandbox: Sandbox, session: aiohttp.ClientSession, kind: str
) -> None:
    """Readers and pipes, by themselves and in a form, are sent once; the next request has a new token."""

    def body() -> Any:
        if kind == "reader":
            return read_by_aiohttp(b"invoice")
        reading, writing = os.pipe()
        os.write(writing, b"invoice")
        os.close(writing)
        pipe = opened.enter_context(os.fdopen(reading, "rb"))
        if kind == "pipe":
            return pipe
        data = aiohttp.FormData()
        data.add_field("f", pipe)
        return data

    with contextlib.ExitStack() as opened:
        assert await status_of(session, data=body()) == 401
        assert len(arrived(sandbox)) == 1
        assert await status_of(session, data=body()) == 200
        assert b"invoice" in sandbox.resource_log[-1].body


def read_by_aiohttp(content: bytes) -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    reader.feed_data(content)
    reader.feed_eof()
    return reader


async def test_a_wait_for_100_continue_is_begun_anew(sandbox: Sandbox) -> None:
    """A request with Expect: 100-continue that is refused before its body is sent again whole."""
    heads: list[bytes] = []
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if len(heads) == 1:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            bodies.append(await reader.readexactly(7))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        auth = auth_of(sandbox, extra_origins=[url])
        async with open_session(auth) as session:
            assert await status_of(session, url, data=b"invoice", expect100=True) == 200

    assert [jwt.encode() in head for jwt, head in zip(sandbox.issued_jwts, heads, strict=True)] == [
        True,
        True,
    ]
    assert bodies == [b"invoice"]


async def test_a_body_that_a_401_cut_short_is_sent_whole(sandbox: Sandbox) -> None:
    """A body that a 401 cut short is sent again whole."""
    bodies: list[bytes] = []
    body = b"x" * 900_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if sandbox.issued_jwts[0].encode() in head:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            refused.set()
            await done.wait()
        else:
            bodies.append(await reader.readexactly(len(body)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    refused, done = anyio.Event(), anyio.Event()

    def small(address: Any) -> socket.socket:
        # So that the body does not fit into what lies between the two.
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        return made

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        auth = auth_of(sandbox, extra_origins=[url])
        connector = aiohttp.TCPConnector(socket_factory=small)
        async with open_session(auth, connector=connector) as session:
            with anyio.fail_after(HANG):
                assert await status_of(session, url, data=body) == 200
        done.set()

    assert refused.is_set()
    assert bodies == [body]
