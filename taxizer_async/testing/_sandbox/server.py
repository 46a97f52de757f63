"""
An HTTP server in its own thread, with uvicorn's protocol class; it knows nothing of Taxizer.

`uvicorn.Server` would poll ten times a second, and would wait for connections to end before it stops.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading

from concurrent.futures import Future
from typing import Final, cast, final

from taxizer_async.testing._sandbox.connection import CONNECTION, App, Connection


try:
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState
except ImportError as cause:
    msg = 'the sandbox needs uvicorn: pip install "taxizer-async[sandbox]"'
    raise ImportError(msg) from cause


#: Connections that may wait to be accepted, as a thousand clients may arrive at once.
_BACKLOG: Final = 8192

#: Connections that asyncio accepts before it serves requests: its *backlog* argument means this, too.
_ACCEPT_AT_ONCE: Final = 64

#: Iterations of the loop until an accepted connection has its transport and its protocol.
_SET_UP_ITERATIONS: Final = 3

#: Seconds that an idle connection stays open: longer than any client keeps one, so that no request meets
#: a closing connection.
_KEEP_ALIVE: Final = 600

#: Seconds that the thread may take to stop.
_STOP_TIMEOUT: Final = 10.0


class _Protocol(H11Protocol):
    """uvicorn's protocol, without an access log; an app finds the connection in its scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the connection into the state of each scope."""
        self.connection = Connection(transport)
        self.app_state = {CONNECTION: self.connection}
        # `Config(access_log=False)` would mute uvicorn in the whole process.
        self.access_log = False
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.connection.lose()


@final
class ServerThread:
    """
    Serves *app* on a loopback *port* (0: a free one) until it is stopped.

    Raises:
        OSError: If the port can't be used.
    """

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._listener = _listen(port)
        self.port: Final[int] = self._listener.getsockname()[1]
        self._stopping = asyncio.Event()
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=self._run, name=f"taxizer-sandbox-{self.port}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        """
        Abort all connections, end all requests, and return once the thread has ended.

        Raises:
            RuntimeError: If the thread doesn't end.
        """
        self._started.result().call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_TIMEOUT)
        if self._thread.is_alive():
            msg = f"the sandbox's thread did not end within {_STOP_TIMEOUT:g} s"
            raise RuntimeError(msg)

    def _run(self) -> None:
        try:
            # Not in the loop, as this imports modules.
            config = _configure(self._app)
            with self._listener, asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(self._serve(config))
        except BaseException as error:
            if self._started.done():
                raise
            self._listener.close()
            self._started.set_exception(error)

    async def _serve(self, config: Config) -> None:
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Protocol(config=config, server_state=state, app_state={}),
            sock=self._listener,
            backlog=_ACCEPT_AT_ONCE,
        )
        self._listener.listen(_BACKLOG)
        self._started.set_result(loop)
        await self._stopping.wait()
        if sys.platform != "win32":
            # Closing the server fails for connections that are accepted but not yet set up.
            loop.remove_reader(self._listener)
            for _ in range(_SET_UP_ITERATIONS):
                await asyncio.sleep(0)
        server.close()
        await _end(state)


def _listen(port: int) -> socket.socket:
    # Without the protocol asyncio leaves Nagle's algorithm on, which costs 40 ms for each answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def _new_loop() -> asyncio.AbstractEventLoop:
    # Whatever the user's policy is: a reset needs the real socket, which uvloop hides.
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop()
    return asyncio.SelectorEventLoop()


def _configure(app: App) -> Config:
    config = Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
    )
    config.load()
    return config


async def _end(state: ServerState) -> None:
    protocols = cast("set[_Protocol]", state.connections)
    connections = [protocol.connection for protocol in protocols]
    for connection in connections:
        connection.abort()
    for connection in connections:
        await connection.lost.wait()
    tasks = tuple(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
