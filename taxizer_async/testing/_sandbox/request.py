"""A request of ASGI's, taken apart once; no rule of the sandbox lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, final

from taxizer_async.testing._sandbox.recorder import Group, Visit
from taxizer_async.testing._sandbox.server import CONNECTION


if TYPE_CHECKING:
    from collections.abc import Mapping

    from taxizer_async.testing._sandbox.server import Connection, Receive, Send


_GROUPS: Final[dict[str, Group]] = {
    "/v1/Auth/Connect": "connect",
    "/v1/Auth/AppRefreshToken": "refresh",
}


@final
class Request:
    """A request under way, and the connection that it came over."""

    __slots__ = ("_receive", "_scope", "body", "connection", "headers", "send", "visit")

    def __init__(self, scope: Mapping[str, object], receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self.send = send
        self.body = b""
        state = cast("Mapping[str, Connection]", scope["state"])
        self.connection = state[CONNECTION]
        self.headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        path = cast("str", scope["path"])
        self.visit = Visit(
            group=_GROUPS.get(path, "resource"),
            method=cast("str", scope["method"]),
            path=path,
            authorization=dict(self.headers).get(b"authorization"),
        )

    @property
    def query(self) -> str:
        """The query string, as sent."""
        return cast("bytes", self._scope["query_string"]).decode("latin-1")

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header."""
        scheme, _, token = (self.visit.authorization or b"").partition(b" ")
        return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else None

    async def read(self) -> bool:
        """Receive the body; False if the client left in the middle of it."""
        chunks: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            chunks.append(cast("bytes", message.get("body", b"")))
            more = bool(message.get("more_body"))
        self.body = b"".join(chunks)
        return True
