"""Which bodies are sent again after a 401, over real sockets."""

from __future__ import annotations

import io

from typing import TYPE_CHECKING, Any

import pytest

from taxizer_async import TaxizerClient


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

    from taxizer_async.testing import Sandbox


PATH = "/v1/Invoices/GenerateInvoice"


@pytest.fixture(name="client")
async def _client(sandbox: Sandbox) -> AsyncIterator[TaxizerClient]:
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        await client.get("/v1/x")
        sandbox.revoke()
        sandbox.reset_counters()
        yield client


async def generator() -> AsyncIterator[bytes]:
    yield b"in"
    yield b"voice"


class Unseekable(io.BytesIO):
    """As a pipe is."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation


class Chunks:
    """Can be iterated any number of times, which nobody can know."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return generator()


def arrived(sandbox: Sandbox) -> list[tuple[int | None, bytes]]:
    return [(entry.status, entry.body) for entry in sandbox.resource_log]


@pytest.mark.report(43)
@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, b""),
        ({"content": b"invoice"}, b"invoice"),
        ({"content": "invoice"}, b"invoice"),
        ({"content": b""}, b""),
        ({"content": b"x" * 300_000}, b"x" * 300_000),
        ({"json": {"a": 1}}, b'{"a":1}'),
        ({"data": {"a": "1"}}, b"a=1"),
    ],
    ids=["none", "bytes", "str", "empty", "big", "json", "form"],
)
async def test_a_body_in_memory_is_sent_again(
    sandbox: Sandbox, client: TaxizerClient, options: dict[str, Any], body: bytes
) -> None:
    """Bytes, text, JSON and forms are sent once more, whole, with a new token."""
    answer = await client.post(PATH, **options)

    assert answer.status_code == 200
    assert arrived(sandbox) == [(401, body), (200, body)]
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 2]
    assert sandbox.counters.exchanges == 1


@pytest.mark.report(128)
@pytest.mark.parametrize(
    "build",
    [
        lambda: {"files": {"f": io.BytesIO(b"invoice")}},
        lambda: {"files": {"f": b"invoice"}, "data": {"a": "1"}},
    ],
    ids=["file", "bytes"],
)
async def test_a_multipart_that_can_be_rewound_is_sent_again(
    sandbox: Sandbox, client: TaxizerClient, build: Callable[[], dict[str, Any]]
) -> None:
    """Bytes and files that can be rewound are sent once more, whole."""
    assert (await client.post(PATH, **build())).status_code == 200

    (refused, first), (accepted, second) = arrived(sandbox)
    assert (refused, accepted) == (401, 200)
    assert first == second
    assert b"\r\ninvoice\r\n" in first


@pytest.mark.report(41)
@pytest.mark.report(43)
@pytest.mark.parametrize(
    ("build", "part"),
    [
        (lambda: {"content": generator()}, b"invoice"),
        (lambda: {"content": Chunks()}, b"invoice"),
        (lambda: {"files": {"f": Unseekable(b"invoice")}}, b"\r\ninvoice\r\n"),
    ],
    ids=["async-generator", "async-iterable", "multipart-of-a-pipe"],
)
async def test_a_stream_gets_its_401_back(
    sandbox: Sandbox, client: TaxizerClient, build: Callable[[], dict[str, Any]], part: bytes
) -> None:
    """A body that may be consumed is never sent again; the next request has a new token."""
    answer = await client.post(PATH, **build())

    assert answer.status_code == 401
    assert answer.json()["title"] == "Unauthorized"
    ((status, body),) = arrived(sandbox)
    assert status == 401
    assert part in body

    again = await client.post(PATH, **build())
    assert again.status_code == 200
    assert sandbox.resource_log[-1].jwt_id == 2
    assert part in sandbox.resource_log[-1].body
    assert sandbox.counters.exchanges == 1


@pytest.mark.report(43)
@pytest.mark.parametrize("kind", ["generator", "file"])
async def test_a_sync_stream_is_httpxs_to_refuse(
    sandbox: Sandbox, client: TaxizerClient, kind: str
) -> None:
    """A sync iterator in an async client fails as it does without us, and nothing is sent."""

    def chunks() -> Iterator[bytes]:
        yield b"invoice"

    with pytest.raises(RuntimeError, match="sync request with an AsyncClient"):
        await client.post(PATH, content=chunks() if kind == "generator" else io.BytesIO(b"invoice"))

    assert sandbox.counters.resources == 0


async def test_a_stream_that_a_hook_has_read_is_sent_again(
    sandbox: Sandbox, client: TaxizerClient
) -> None:
    """Once a request was read into memory its body can be sent again."""

    async def read(request: httpx.Request) -> None:
        await request.aread()

    client.event_hooks = {"request": [read]}
    request = client.build_request("POST", PATH, content=generator())
    await request.aread()
    answer = await client.send(request)

    assert answer.status_code == 200
    assert arrived(sandbox) == [(401, b"invoice"), (200, b"invoice")]


async def test_a_401_of_a_stream_can_be_streamed(sandbox: Sandbox, client: TaxizerClient) -> None:
    """A 401 that is handed back is not consumed: who asked for a stream reads it."""
    async with client.stream("POST", PATH, content=generator()) as answer:
        assert answer.status_code == 401
        assert not answer.is_stream_consumed
        body = await answer.aread()

    assert b"Unauthorized" in body
    assert sandbox.counters.resources == 1


async def test_nothing_is_sent_twice_when_all_is_well(
    sandbox: Sandbox, client: TaxizerClient
) -> None:
    """With a good token each kind of body is sent once."""
    await client.get("/v1/x")
    sandbox.reset_counters()
    bodies: list[dict[str, Any]] = [
        {"content": generator()},
        {"json": {}},
        {"files": {"f": b"invoice"}},
    ]
    for body in bodies:
        assert (await client.post(PATH, **body)).status_code == 200

    assert sandbox.counters.resources == 3
    assert sandbox.counters.exchanges == 0
