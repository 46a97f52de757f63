"""The HTTP stacks under one face: how a request is sent, and what is seen of the answer."""

from __future__ import annotations

import contextlib

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any, Final, Protocol, TypeAlias, final

import aiohttp
import anyio
import anyio.to_thread
import attrs
import httpx
import httpx2

import taxizer_async
import taxizer_async.httpx2

from taxizer_async.aiohttp import TaxizerMiddleware
from taxizer_async.testing import Sandbox
from tests.support.callers import TLS


Auth: TypeAlias = taxizer_async.TaxizerAuth | taxizer_async.httpx2.TaxizerAuth

#: Seconds; no test comes near it but one that hangs.
_TIMEOUT: Final = 20
#: More than a test sends at once.
_MOST_THREADS: Final = 200


@attrs.frozen
class Reply:
    """An answer that was read; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Stream(Protocol):
    """An answer with its body unread."""

    @property
    def status(self) -> int: ...


class Sender(Protocol):
    """A client that is logged in; *path* may be a whole URL."""

    async def send(self, method: str, path: str, **body: Any) -> Reply: ...

    def stream(self, path: str) -> AbstractAsyncContextManager[Stream]: ...


class Stack(Protocol):
    """
    An HTTP library with our auth on it.

    Attributes:
        name: The library's.
        network_errors: What it raises if the API can't be reached.
    """

    name: str
    network_errors: type[Exception]

    def make_auth(self, sandbox: Sandbox, **options: Any) -> Auth: ...

    def open(
        self, auth: Auth, *, connections: int = ..., follow_redirects: bool = ...
    ) -> AbstractAsyncContextManager[Sender]: ...


@final
@attrs.frozen
class HttpxStream:
    response: Any

    @property
    def status(self) -> int:
        return int(self.response.status_code)


@final
@attrs.frozen
class HttpxSender:
    client: Any

    async def send(self, method: str, path: str, **body: Any) -> Reply:
        response = await self.client.request(method, path, **body)
        return Reply(response.status_code, lowered(response.headers), response.content)

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[HttpxStream]:
        async with self.client.stream("GET", path) as response:
            yield HttpxStream(response)


@final
class HttpxStack:
    """Httpx or httpx2, whichever *library* is; *auth_class* is the one for it."""

    def __init__(self, library: ModuleType, auth_class: type[Auth]) -> None:
        self.name = library.__name__
        self.network_errors: type[Exception] = library.TransportError
        self.library: Any = library
        self._auth_class = auth_class

    def make_auth(self, sandbox: Sandbox, **options: Any) -> Auth:
        return self._auth_class(**_arguments(sandbox, options))

    @contextlib.asynccontextmanager
    async def open(
        self, auth: Auth, *, connections: int = 20, follow_redirects: bool = False
    ) -> AsyncIterator[HttpxSender]:
        async with self.library.AsyncClient(
            auth=auth,
            base_url=auth.base_url,
            timeout=_TIMEOUT,
            verify=TLS,
            limits=self.library.Limits(max_connections=connections),
            follow_redirects=follow_redirects,
        ) as client:
            yield HttpxSender(client)


@final
@attrs.frozen
class SyncBody:
    """The chunks of *source*, which waits for nothing."""

    source: AsyncIterable[bytes]

    def __iter__(self) -> Iterator[bytes]:
        iterator = aiter(self.source)
        while True:
            step: Any = anext(iterator)
            try:
                step.send(None)
            except StopIteration as end:
                yield end.value
            except StopAsyncIteration:
                return


@final
@attrs.frozen
class SyncSender:
    """Sends each request in a thread of its own."""

    client: Any
    threads: anyio.CapacityLimiter

    async def send(self, method: str, path: str, **body: Any) -> Reply:
        if isinstance(body.get("content"), AsyncIterable):
            body["content"] = SyncBody(body["content"])
        response = await self._in_thread(lambda: self.client.request(method, path, **body))
        return Reply(response.status_code, lowered(response.headers), response.content)

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[HttpxStream]:
        request = self.client.build_request("GET", path)
        response = await self._in_thread(lambda: self.client.send(request, stream=True))
        try:
            yield HttpxStream(response)
        finally:
            response.close()

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(call, limiter=self.threads)


@final
class SyncStack:
    """The sync client of the library of *stack*."""

    def __init__(self, stack: HttpxStack) -> None:
        self.name = f"{stack.name} (sync)"
        self.network_errors = stack.network_errors
        self.make_auth = stack.make_auth
        self._library = stack.library

    @contextlib.asynccontextmanager
    async def open(
        self, auth: Auth, *, connections: int = 20, follow_redirects: bool = False
    ) -> AsyncIterator[SyncSender]:
        with self._library.Client(
            auth=auth,
            base_url=auth.base_url,
            timeout=_TIMEOUT,
            verify=TLS,
            limits=self._library.Limits(max_connections=connections),
            follow_redirects=follow_redirects,
        ) as client:
            yield SyncSender(client, anyio.CapacityLimiter(_MOST_THREADS))


@final
@attrs.frozen
class AiohttpStream:
    response: aiohttp.ClientResponse

    @property
    def status(self) -> int:
        return self.response.status


@final
@attrs.frozen
class AiohttpSender:
    session: aiohttp.ClientSession
    follow_redirects: bool = False

    async def send(self, method: str, path: str, **body: Any) -> Reply:
        if "content" in body:
            body["data"] = body.pop("content")
        async with self.session.request(
            method, path, allow_redirects=self.follow_redirects, **body
        ) as response:
            return Reply(response.status, lowered(response.headers), await response.read())

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[AiohttpStream]:
        async with self.session.get(path) as response:
            yield AiohttpStream(response)
            # The body has no end, which is what `close` is for.
            response.close()


@final
class AiohttpStack:
    name: str = "aiohttp"
    network_errors: type[Exception] = aiohttp.ClientError

    def make_auth(self, sandbox: Sandbox, **options: Any) -> Auth:
        return taxizer_async.TaxizerAuth(**_arguments(sandbox, options))

    @contextlib.asynccontextmanager
    async def open(
        self, auth: Auth, *, connections: int = 20, follow_redirects: bool = False
    ) -> AsyncIterator[AiohttpSender]:
        async with aiohttp.ClientSession(
            auth.base_url,
            middlewares=[TaxizerMiddleware(auth)],
            timeout=aiohttp.ClientTimeout(_TIMEOUT),
            connector=aiohttp.TCPConnector(limit=connections),
        ) as session:
            yield AiohttpSender(session, follow_redirects)


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _arguments(sandbox: Sandbox, options: dict[str, Any]) -> dict[str, Any]:
    return {"credentials": sandbox.credentials, "base_url": sandbox.base_url, **options}


HTTPX: Final = HttpxStack(httpx, taxizer_async.TaxizerAuth)
HTTPX2: Final = HttpxStack(httpx2, taxizer_async.httpx2.TaxizerAuth)
SYNC_HTTPX: Final = SyncStack(HTTPX)
SYNC_HTTPX2: Final = SyncStack(HTTPX2)
AIOHTTP: Final = AiohttpStack()
