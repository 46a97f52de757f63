"""Which bodies are sent again after a 401, on each stack."""

from __future__ import annotations

import io
import json

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from taxizer_async.testing import Sandbox
from tests.support.callers import PATH, arrived

from .stacks import Auth, Sender, Stack


@pytest.fixture(name="sender")
async def _sender(sandbox: Sandbox, stack: Stack, auth: Auth) -> AsyncIterator[Sender]:
    """A client with a revoked token."""
    async with stack.open(auth) as sender:
        await sender.send("GET", "/v1/x")
        sandbox.revoke()
        sandbox.reset_counters()
        yield sender


async def chunks() -> AsyncIterator[bytes]:
    yield b"in"
    yield b"voice"


class Chunks:
    """Can be iterated any number of times, but does not say so."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return chunks()


@pytest.mark.invariant(16)
@pytest.mark.report(43)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, b""),
        ({"content": b"invoice"}, b"invoice"),
        ({"content": "invoice"}, b"invoice"),
        ({"content": b""}, b""),
        ({"content": b"x" * 300_000}, b"x" * 300_000),
        ({"data": {"a": "1", "b": "2"}}, b"a=1&b=2"),
    ],
    ids=["none", "bytes", "str", "empty", "big", "form"],
)
async def test_a_body_in_memory_is_sent_again(
    sandbox: Sandbox, sender: Sender, body: dict[str, Any], expected: bytes
) -> None:
    """Bytes, text and forms are sent once more, whole, with a new token."""
    reply = await sender.send("POST", PATH, **body)

    assert reply.status == 200
    assert arrived(sandbox) == [(401, expected), (200, expected)]
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 2]
    assert sandbox.counters.exchanges == 1


async def test_json_is_sent_again(sandbox: Sandbox, sender: Sender) -> None:
    """JSON, which each library writes in its own way, arrives twice the same."""
    assert (await sender.send("POST", PATH, json={"a": [1]})).status == 200

    (_, first), (_, second) = arrived(sandbox)
    assert first == second
    assert json.loads(first) == {"a": [1]}


@pytest.mark.invariant(16)
@pytest.mark.report(41, 43)
@pytest.mark.parametrize("build", [chunks, Chunks], ids=["generator", "iterable"])
async def test_a_stream_gets_its_401_back(
    sandbox: Sandbox, sender: Sender, build: Callable[[], Any]
) -> None:
    """A body that may be consumed is never sent again; the next request has a new token."""
    reply = await sender.send("POST", PATH, content=build())

    assert reply.status == 401
    assert json.loads(reply.body)["title"] == "Unauthorized"
    assert arrived(sandbox) == [(401, b"invoice")]

    assert (await sender.send("POST", PATH, content=build())).status == 200
    assert arrived(sandbox)[1:] == [(200, b"invoice")]
    assert sandbox.resource_log[-1].jwt_id == 2
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(16)
@pytest.mark.report(128)
async def test_a_multipart_with_a_file_is_sent_again(
    sandbox: Sandbox, stack: Stack, sender: Sender
) -> None:
    """A form with a file that can be rewound arrives twice, and whole."""

    def form() -> dict[str, Any]:
        if stack.name != "aiohttp":
            return {"files": {"f": io.BytesIO(b"invoice")}}
        data = aiohttp.FormData()
        data.add_field("f", io.BytesIO(b"invoice"), filename="f")
        return {"data": data}

    assert (await sender.send("POST", PATH, **form())).status == 200
    (refused, first), (accepted, second) = arrived(sandbox)
    assert (refused, accepted) == (401, 200)
    assert first == second
    assert b"\r\ninvoice\r\n" in second


async def test_a_good_token_has_nothing_sent_twice(sandbox: Sandbox, sender: Sender) -> None:
    """With a good token each kind of body is sent once."""
    await sender.send("GET", "/v1/x")
    sandbox.reset_counters()
    bodies: list[dict[str, Any]] = [{"content": chunks()}, {"json": {}}, {"content": b"x"}]
    for body in bodies:
        assert (await sender.send("POST", PATH, **body)).status == 200

    assert sandbox.counters.resources == 3
    assert sandbox.counters.exchanges == 0


async def test_a_head_and_an_empty_answer_are_sent_again(sandbox: Sandbox, sender: Sender) -> None:
    """A 401 without a body to read is one like any other."""
    assert (await sender.send("HEAD", PATH)).status == 200
    assert [entry.status for entry in sandbox.resource_log] == [401, 200]


async def test_an_endless_answer_is_streamed_while_tokens_are_renewed(
    sandbox: Sandbox, sender: Sender
) -> None:
    """An endless answer is streamed after a 401 and through a renewal, and can be left at any time."""
    async with sender.stream("/v1/stream") as stream:
        assert stream.status == 200
        sandbox.revoke()
        assert (await sender.send("POST", PATH)).status == 200

    assert sandbox.counters.exchanges == 2
