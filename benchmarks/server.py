"""
Sandboxes in another process, so that they share no interpreter lock with a client.

The program reads commands from stdin, a line of JSON each, answers each on stdout, and ends with stdin. Each
sandbox is behind a thin facade that also speaks OAuth 2 at `/oauth/token`. It only translates, so the same
latency, faults and counters apply.
"""

from __future__ import annotations

import base64
import json
import sys

from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import parse_qs, unquote_plus

import attrs

from taxizer_async.testing import Fault, Sandbox
from taxizer_async.testing._sandbox.app import SandboxApp
from taxizer_async.testing._sandbox.server import ServerThread


if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from taxizer_async.testing._sandbox.connection import Message, Receive, Send


#: The path of the facade.
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
_CONNECT_PATH: Final = "/v1/Auth/Connect"
_REFRESH_PATH: Final = "/v1/Auth/AppRefreshToken"
_OK: Final = 200


@final
class OAuthFacade:
    """Serves *app*, and its two auth endpoints as one OAuth 2 endpoint (RFC 6749, 4.4 and 6)."""

    def __init__(self, app: SandboxApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox
        #: Seconds by which `expires_in` overstates the life of a token.
        self.overstatement = 0.0

    async def __call__(
        self, scope: MutableMapping[str, object], receive: Receive, send: Send
    ) -> None:
        """Serve one request."""
        if scope["path"] != TOKEN_PATH:
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        path, fields = translate_request(body, _header(scope, b"authorization"))
        encoded = json.dumps(fields).encode()
        sent = False

        async def receive_translated() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": encoded, "more_body": False}

        translated = {**scope, "path": path, "raw_path": path.encode()}
        lifetime = self._sandbox.lifetime + self.overstatement
        await self._app(translated, receive_translated, _Translator(send, lifetime).send)


@final
class _Translator:
    """Holds the head of an answer back until the body is known, as it has the body's length."""

    def __init__(self, send: Send, lifetime: float) -> None:
        self._send = send
        self._lifetime = lifetime
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, body = self._head, message.get("body", b"")
        assert head is not None
        assert isinstance(body, bytes)
        if head["status"] == _OK:
            body = translate_answer(body, lifetime=self._lifetime)
            kept = [pair for pair in _pairs(head) if pair[0] != b"content-length"]
            head = {**head, "headers": [*kept, (b"content-length", b"%d" % len(body))]}
        await self._send(head)
        await self._send({**message, "body": body})


def translate_request(body: bytes, authorization: bytes | None) -> tuple[str, dict[str, str]]:
    """Translate a form of OAuth 2 into a path and JSON of Taxizer."""
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    if form.get("grant_type") == "refresh_token":
        return _REFRESH_PATH, {"refreshToken": form.get("refresh_token", "")}
    client_id, client_secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, credentials = (authorization or b"").partition(b" ")
    if scheme.lower() == b"basic":
        pair = base64.b64decode(credentials).decode().partition(":")
        client_id, client_secret = unquote_plus(pair[0]), unquote_plus(pair[2])
    return _CONNECT_PATH, {"clientId": client_id, "clientSecret": client_secret}


def translate_answer(body: bytes, *, lifetime: float) -> bytes:
    """Translate a token response of Taxizer into one of OAuth 2."""
    fields = json.loads(body)
    answer = {
        "access_token": fields["jwtToken"],
        "token_type": "Bearer",
        "expires_in": int(lifetime),
        "refresh_token": fields["refreshToken"],
    }
    return json.dumps(answer).encode()


@final
class Hosted:
    """A sandbox with its facade and port."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        # Not started, as it would serve its app without the facade.
        app = SandboxApp(self.sandbox._parts)  # noqa: SLF001
        self._facade = OAuthFacade(app, self.sandbox)
        self._server = ServerThread(self._facade, 0)
        self.port = self._server.port
        self._server.start()

    def change(self, settings: dict[str, float]) -> None:
        """Set attributes of the sandbox, or `overstatement` of the facade."""
        for field, value in settings.items():
            owner = self._facade if field == "overstatement" else self.sandbox
            setattr(owner, field, value)

    def stop(self) -> None:
        """Close the port and all connections."""
        self._server.stop()


@final
class Sandboxes:
    """Runs commands for sandboxes that have names."""

    def __init__(self) -> None:
        self._hosted: dict[str, Hosted] = {}

    def close(self) -> None:
        """Stop all sandboxes."""
        for hosted in self._hosted.values():
            hosted.stop()

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """
        Run *command*, and return the answer.

        Raises:
            ValueError: If there is no such command.
        """
        name = command["name"]
        if command["do"] == "open":
            return self._open(name)
        hosted = self._hosted[name]
        if command["do"] == "set":
            hosted.change(command["settings"])
            return {}
        run = _COMMANDS.get(command["do"])
        if run is None:
            msg = f"no such command: {command['do']}"
            raise ValueError(msg)
        return run(hosted.sandbox) or {}

    def _open(self, name: str) -> dict[str, Any]:
        hosted = self._hosted[name] = Hosted()
        credentials = hosted.sandbox.credentials
        return {
            "base_url": f"http://127.0.0.1:{hosted.port}",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret.reveal(),
        }


def _down(sandbox: Sandbox) -> None:
    sandbox.fail("connect", Fault.status(503))
    _refresh_down(sandbox)


def _refresh_down(sandbox: Sandbox) -> None:
    sandbox.fail("refresh", Fault.status(503))


def _counters(sandbox: Sandbox) -> dict[str, Any]:
    counted = sandbox.counters
    return attrs.asdict(counted, filter=_is_number) | {"exchanges": counted.exchanges}


def _exchanges(sandbox: Sandbox) -> dict[str, Any]:
    return {"entries": [attrs.asdict(entry) for entry in sandbox.exchange_log]}


_COMMANDS: Final[dict[str, Callable[[Sandbox], dict[str, Any] | None]]] = {
    "revoke": Sandbox.revoke,
    "down": _down,
    "refresh_down": _refresh_down,
    "up": Sandbox.heal,
    "reset": Sandbox.reset_counters,
    "counters": _counters,
    "exchanges": _exchanges,
}


def _is_number(_: object, value: object) -> bool:
    return isinstance(value, int)


def _pairs(head: Message) -> list[tuple[bytes, bytes]]:
    pairs = head["headers"]
    assert isinstance(pairs, list)
    return pairs


def _header(scope: MutableMapping[str, object], wanted: bytes) -> bytes | None:
    return dict(_pairs(scope)).get(wanted)


async def _read(receive: Receive) -> bytes | None:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        assert isinstance(chunk, bytes)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def main() -> None:
    """Run commands until stdin ends."""
    sandboxes = Sandboxes()
    try:
        for line in sys.stdin:
            sys.stdout.write(f"{json.dumps(sandboxes.run(json.loads(line)))}\n")
            sys.stdout.flush()
    finally:
        sandboxes.close()


if __name__ == "__main__":
    main()
