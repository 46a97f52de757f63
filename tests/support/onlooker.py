"""Another server on loopback, which notes the headers of all that comes to it."""

from __future__ import annotations

import threading

from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self, final


@final
class Onlooker:
    """Answers each request with *status*; has a port of its own."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        #: The headers of all requests.
        self.seen: Final[list[Message]] = []
        self._server: Final = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread: Final = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def authorizations(self) -> list[list[str]]:
        """Return the Authorization headers of each request."""
        return [headers.get_all("Authorization", []) for headers in self.seen]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> Any:
        onlooker = self

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                self.handle_one_request()

            def parse_request(self) -> bool:
                parsed = super().parse_request()
                if parsed:
                    onlooker.seen.append(self.headers)
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    self.send_response(onlooker.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                return False

        return Handler
