"""The requests and answers of a sandbox, as they are read from ASGI and written to it."""

from __future__ import annotations

import functools
import json

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, cast, final

import attrs

from taxizer_async.testing._sandbox.connection import CONNECTION, Receive, Send
from taxizer_async.testing._sandbox.faults import Fault
from taxizer_async.testing._sandbox.recorder import Group, RequestRecord


Headers = tuple[tuple[bytes, bytes], ...]

_JSON: Final[Headers] = ((b"content-type", b"application/json; charset=utf-8"),)
_PROBLEM: Final[Headers] = ((b"content-type", b"application/problem+json"),)

#: Statuses whose answers have no body.
_BODYLESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

_GROUPS: Final[dict[str, Group]] = {
    "/v1/Auth/Connect": "connect",
    "/v1/Auth/AppRefreshToken": "refresh",
}


@final
class Request:
    """A request, the way to answer it, and the connection that it came over."""

    __slots__ = ("_receive", "_scope", "_send", "body", "connection", "headers", "record")

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.body = b""
        self.connection = scope["state"][CONNECTION]
        self.headers = scope["headers"]
        path = scope["path"]
        self.record = RequestRecord(
            group=_GROUPS.get(path, "resource"),
            method=scope["method"],
            path=path,
            authorization=dict(self.headers).get(b"authorization"),
        )

    @property
    def query(self) -> str:
        return str(self._scope["query_string"], "latin-1")

    @property
    def bearer(self) -> str | None:
        scheme, _, token = (self.record.authorization or b"").partition(b" ")
        return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else None

    def values(self, name: bytes) -> list[str]:
        """Return the values of the headers with the lower-case *name*."""
        return [value.decode("latin-1") for key, value in self.headers if key == name]

    async def read(self, most: int | None = None) -> bool:
        """
        Receive the body; return False if the client left before its end.

        Stop once there are more than *most* bytes.
        """
        chunks: list[bytes] = []
        more = True
        while more and (most is None or sum(map(len, chunks)) <= most):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            chunks.append(message.get("body", b""))
            more = bool(message.get("more_body"))
        self.body = b"".join(chunks)
        return True

    async def send_head(self, answer: Answer, date: float | None) -> None:
        """Send status and headers of *answer*, and a Date header unless *date* (Unix seconds) is None."""
        headers = list(answer.headers)
        if not answer.endless:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        if date is not None and not any(name.lower() == b"date" for name, _ in headers):
            headers.append((b"date", _http_date(int(date))))
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": headers}
        )

    async def send_body(self, body: bytes, *, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


@final
@attrs.frozen
class Answer:
    """A status, headers and a body; an *endless* one has a body without end instead."""

    status: int
    headers: Headers
    body: bytes = b""
    endless: bool = False

    @property
    def ok(self) -> bool:
        return self.status // 100 == HTTPStatus.OK // 100

    def edited(self, fields: tuple[tuple[str, object], ...]) -> Answer:
        """Return a copy with JSON *fields* replaced; the answer itself if its body is no JSON object."""
        content = parse_object(self.body)
        if content is None:
            return self
        merged = content | dict(fields)
        kept = {name: value for name, value in merged.items() if value is not Fault.MISSING}
        return attrs.evolve(self, body=json.dumps(kept).encode())


def parse_object(body: bytes) -> dict[str, object] | None:
    """Parse a JSON object; None if *body* is anything else."""
    try:
        content: object = json.loads(body)
    except ValueError:
        return None
    return cast("dict[str, object]", content) if isinstance(content, dict) else None


def answer_json(content: Mapping[str, object], *, status: int = 200) -> Answer:
    return Answer(status, _JSON, json.dumps(content).encode())


def answer_problem(status: int, title: str, *headers: tuple[bytes, bytes]) -> Answer:
    """Return the answer with which ASP.NET refuses a request (RFC 9457)."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status})
    return Answer(status, _PROBLEM + headers, body.encode())


def answer_fault(fault: Fault) -> Answer:
    headers = tuple(
        (name.encode("latin-1"), text.encode("latin-1")) for name, text in fault.headers
    )
    return Answer(fault.code, headers, b"" if fault.code in _BODYLESS else fault.content)


@functools.lru_cache(maxsize=4)
def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()
