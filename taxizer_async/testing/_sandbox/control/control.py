"""
The control interface: which request does what, who is refused, and how it is answered.

Nothing here is counted, and no fault, gate or latency concerns it.
"""

from __future__ import annotations

import json

from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Final, cast, final

from taxizer_async.testing._sandbox.control.guard import (
    BODY_BYTES,
    RefusedError,
    check_content_type,
    check_sender,
)
from taxizer_async.testing._sandbox.control.openapi import EVENTS, OPENAPI, STATE, describe
from taxizer_async.testing._sandbox.control.operations import OPERATIONS, Operation
from taxizer_async.testing._sandbox.control.schema import check
from taxizer_async.testing._sandbox.control.state import read_state
from taxizer_async.testing._sandbox.control.stream import Stream
from taxizer_async.testing._sandbox.messages import Answer, Headers, Request
from taxizer_async.testing._sandbox.parts import Parts


#: The most readers of events at a time.
_READERS: Final = 32

_COMMON: Final[Headers] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_POLICY: Final = (
    b"content-security-policy",
    b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
_JSON: Final = b"application/json"

_PAGE: Final = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/_sandbox/page.css": ("page.css", b"text/css; charset=utf-8"),
    "/_sandbox/icon.svg": ("icon.svg", b"image/svg+xml"),
    **{
        f"/_sandbox/{name}": (name, b"text/javascript; charset=utf-8")
        for name in ("page.js", "picture.js", "story.js", "words.js")
    },
}
_READS: Final = frozenset({*_PAGE, EVENTS, OPENAPI, STATE})
_WRITES: Final = {operation.path: operation for operation in OPERATIONS}


def is_control(path: str) -> bool:
    """Return whether *path* is the page or the control interface, and not the API."""
    return path == "/" or f"{path}/".startswith("/_sandbox/")


@final
class Control:
    """Answers the requests of the page and of programs that drive the sandbox."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._readers = 0

    async def serve(self, request: Request) -> None:
        try:
            check_sender(request)
            if request.record.path == EVENTS and request.record.method == "GET":
                await self._stream(request)
                return
            answer = await self._answer(request)
        except RefusedError as refused:
            answer = _refuse(refused.status, refused.detail)
        if answer is not None:
            await request.send_head(answer, None)
            await request.send_body(answer.body)

    async def _answer(self, request: Request) -> Answer | None:
        """Return the answer; None if the client has left."""
        method, path = request.record.method, request.record.path
        operation = _WRITES.get(path)
        if operation is None and path not in _READS:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"{OPENAPI} lists what there is.")
        allowed = "GET" if operation is None else operation.method
        if method != allowed:
            return _refuse(
                HTTPStatus.METHOD_NOT_ALLOWED, f"Use {allowed}.", (b"allow", allowed.encode())
            )
        if operation is not None:
            return await self._write(request, operation)
        if path in _PAGE:
            return _page(*_PAGE[path])
        return _json(describe() if path == OPENAPI else read_state(self._parts))

    async def _write(self, request: Request, operation: Operation) -> Answer | None:
        check_content_type(request)
        if not await request.read(BODY_BYTES):
            return None
        if len(request.body) > BODY_BYTES:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body has {BODY_BYTES} bytes at most."
            )
        try:
            content = _parse(request.body)
            check(operation.body, content)
            operation.run(self._parts.sandbox, cast("Mapping[str, object]", content))
        except ValueError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"{error}.") from None
        return _json(read_state(self._parts))

    async def _stream(self, request: Request) -> None:
        if self._readers >= _READERS:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, f"{_READERS} readers are here.")
        self._readers += 1
        try:
            await Stream(request, self._parts).serve(_COMMON)
        finally:
            self._readers -= 1


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        msg = "the body must be JSON"
    raise ValueError(msg)


def _json(content: Mapping[str, object]) -> Answer:
    body = json.dumps(content).encode()
    return Answer(HTTPStatus.OK, ((b"content-type", _JSON), *_COMMON), body)


def _page(name: str, content_type: bytes) -> Answer:
    body = (files("taxizer_async.testing._sandbox") / "page" / name).read_bytes()
    return Answer(HTTPStatus.OK, ((b"content-type", content_type), _POLICY, *_COMMON), body)


def _refuse(status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes]) -> Answer:
    content = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    kind = (b"content-type", b"application/problem+json")
    return Answer(status, (kind, *_COMMON, *headers), json.dumps(content).encode())
