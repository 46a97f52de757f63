"""
The parts of httpx that are used, or of httpx2, which has the same names; and the TLS context of logins.

The library is passed in, so that only the one in use is imported.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import threading

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias, cast, final
from weakref import WeakValueDictionary

import anyio

from taxizer_async._core.per_loop import PerLoop
from taxizer_async._core.process import PerProcess


#: The files that a TLS context is made from, and a stamp of each; None if a file is missing.
_Stamp: TypeAlias = "tuple[tuple[str, tuple[int, ...] | None], ...]"

#: Returns a client of the HTTP library that is in use.
HttpClientFactory: TypeAlias = Callable[[], Any]

#: Logins and renewals that an event loop sends to one server at the same time. A process may have a thousand
#: accounts, and each login has a connection.
MOST_LOGINS: Final = 64

_TLS_OPTIONS: Final = ("verify", "cert", "trust_env")


@final
class HttpLibrary:
    """
    httpx or httpx2.

    Attributes:
        module: Its module.
        never_sent: Its errors after which it is certain that nothing was sent.
        tls: The TLS context of all clients without TLS options.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module: Final[Any] = module
        self.never_sent: Final[tuple[type[Exception], ...]] = (
            self.module.ConnectError,
            self.module.ConnectTimeout,
            self.module.PoolTimeout,
            self.module.ProxyError,
            self.module.UnsupportedProtocol,
        )
        self.tls: Final = TlsContext(self, {})
        self._limits: Final[WeakValueDictionary[str, PerLoop[anyio.Semaphore]]] = (
            WeakValueDictionary()
        )

    def login_limit(self, base_url: str) -> PerLoop[anyio.Semaphore]:
        """Return the limit that all logins at *base_url* share; a server that hangs delays no other's."""
        new = PerLoop(lambda: anyio.Semaphore(MOST_LOGINS))
        return self._limits.setdefault(base_url, new)

    def is_replayable(self, request: Any) -> bool:
        """Return whether the body of *request*, of this library, can be sent again."""
        stream = request.stream
        if isinstance(stream, self.module.ByteStream):
            return True
        # Other streams are consumed: sent again, the body would be empty or shorter.
        if not isinstance(stream, self._multipart):
            return False
        return all(_is_rewindable(getattr(field, "file", b"")) for field in stream.fields)

    def copied(self, request: Any) -> Any:
        try:
            body = {"content": request.content}
        except self.module.RequestNotRead:
            body = {"stream": request.stream}
        return self.module.Request(
            request.method,
            request.url,
            headers=request.headers,
            extensions=request.extensions,
            **body,
        )

    @functools.cached_property
    def _multipart(self) -> type[Any]:
        # The class has no public name. It rewinds its files each time it is sent.
        request = self.module.Request("POST", "http://localhost", files={"a": b""})
        stream: object = request.stream
        return type(stream)


@final
class TlsContext:
    """
    The TLS context of logins, made by *library* with *options* (`verify`, `cert`, `trust_env`).

    It is made anew when one of its files has changed, or after `doubt`, as CA bundles and certificates are
    replaced while processes run.
    """

    __slots__ = ("_context", "_library", "_making", "_options", "_stamp")

    def __init__(self, library: HttpLibrary, options: dict[str, Any]) -> None:
        self._library = library
        self._options = options
        self._context: ssl.SSLContext | None = None
        self._stamp: _Stamp | None = None
        self._making = PerProcess(threading.Lock)

    def get(self) -> ssl.SSLContext:
        """
        Return the context; to be called in a thread, as reading the CA bundle takes tens of milliseconds.

        Raises:
            OSError: If a file can't be read, and never could be.
        """
        # One thread makes it while others that need it wait, as many logins may begin at once.
        with self._making.get():
            return self._get()

    def _get(self) -> ssl.SSLContext:
        # Taken before the files are read, so that a change meanwhile is noticed next time.
        stamp = tuple((path, _stamp_of(path)) for path in self._paths())
        if self._stamp == stamp and self._context is not None:
            return self._context
        try:
            context: ssl.SSLContext = self._library.module.create_ssl_context(**self._options)
        except OSError:
            # The file is being replaced, or was removed with an old release that is still running.
            if self._context is None:
                raise
            return self._context
        self._context, self._stamp = context, stamp
        return context

    def doubt(self) -> None:
        """Have the context made anew, after a server's certificate could not be verified."""
        self._stamp = None

    def _paths(self) -> Iterator[str]:
        for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            if os.environ.get(variable):
                yield os.environ[variable]
        # Without certifi the library uses the system's certificates.
        with contextlib.suppress(ImportError):
            import certifi  # noqa: PLC0415 - only needed by logins

            yield certifi.where()
        for name in ("verify", "cert"):
            option = self._options.get(name)
            # A certificate may be a tuple of paths.
            several = cast("tuple[object, ...]", option) if isinstance(option, tuple) else (option,)
            yield from (each for each in several if isinstance(each, str))


@final
class LoginClients:
    """Makes clients of *library* with *options*, for logins."""

    __slots__ = ("_library", "_options", "tls")

    def __init__(self, library: HttpLibrary, options: dict[str, Any]) -> None:
        own: dict[str, Any] = {name: options[name] for name in _TLS_OPTIONS if name in options}
        self._library = library
        self._options = {name: options[name] for name in options if name not in ("verify", "cert")}
        self.tls: Final = TlsContext(library, own) if own else library.tls

    def __call__(self) -> Any:
        return self._library.module.AsyncClient(verify=self.tls.get(), **self._options)


def _stamp_of(path: str) -> tuple[int, ...] | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_rewindable(file: Any) -> bool:
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):  # no file, or one that is closed
        return False
