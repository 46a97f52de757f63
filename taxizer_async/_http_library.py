"""
What is used of an HTTP library: httpx, or one that has the same names.

Nothing here imports one, so that each is loaded only by who asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard, final


if TYPE_CHECKING:
    import ssl

    from types import ModuleType


@final
class HttpLibrary:
    """
    The library *module*.

    Attributes:
        name: What it is called in messages.
        client: Its `AsyncClient`.
        timeout: Its `Timeout`.
        never_sent: Its errors that say that a request did not leave.
        transport_error: What all errors of its network are.
    """

    __slots__ = ("_module", "_tls", "client", "name", "never_sent", "timeout", "transport_error")

    def __init__(self, module: ModuleType) -> None:
        library: Any = module
        self._module: Final[Any] = library
        self._tls: ssl.SSLContext | None = None
        self.name: Final = module.__name__
        self.client: Final[type[Any]] = library.AsyncClient
        self.timeout: Final[Any] = library.Timeout
        self.transport_error: Final[type[Exception]] = library.TransportError
        self.never_sent: Final[tuple[type[Exception], ...]] = (
            library.ConnectError,
            library.ConnectTimeout,
            library.PoolTimeout,
            library.ProxyError,
            library.UnsupportedProtocol,
        )

    def is_client(self, made: object) -> TypeGuard[Any]:
        """Say whether it is one of its clients."""
        return isinstance(made, self.client)

    def is_replayable(self, request: Any) -> bool:
        """Say whether the body of a request of its own can be sent again."""
        # Other streams are consumed, and would be sent again as an empty or a shorter body.
        return isinstance(request.stream, self._module.ByteStream)

    def make_tls_context(self, **options: Any) -> ssl.SSLContext:
        """Return a new context; reads the CA bundle, which takes tens of milliseconds."""
        context: ssl.SSLContext = self._module.create_ssl_context(**options)
        return context

    def default_tls_context(self) -> ssl.SSLContext:
        """Return the one of all clients that have no options of their own; it is built once."""
        if self._tls is None:
            self._tls = self.make_tls_context()
        return self._tls
