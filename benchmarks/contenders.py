"""What is compared, as values: who takes part, and what a scenario asks of each. No library is named here."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from benchmarks.service import Target
from taxizer_async import TokenStore


if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


#: What each request sends, and where to.
PATH: Final = "/v1/Invoices/GenerateInvoice"
BODY: Final = b'{"number":"INV-1","total":"115.00"}'
JSON: Final = {"Content-Type": "application/json"}
#: Connections that a client may have open, unless a scenario says otherwise: as many as the most
#: requests at a time.
CONNECTIONS: Final = 512
#: Seconds that a request may take.
TIMEOUT: Final = 60.0

Kind = Literal["floor", "own", "peer"]


@attrs.frozen(kw_only=True)
class Setup:
    """
    What a contender is told.

    Attributes:
        target: The sandbox.
        early: Seconds before its end that a token is renewed from, where that can be set; None is the
            default of each.
        store: Where to share the token, of those of the package.
        folder: Where to share it, for others that can: a folder.
        connections: How many it may have open.
        in_memory: Whether httpx and httpx2 are to answer resource requests from memory: their pool looks
            at all that queue for each that is done, so a large crowd's time is quadratic, and all theirs.
    """

    target: Target
    early: float | None = None
    store: TokenStore | None = None
    folder: str | None = None
    connections: int = CONNECTIONS
    in_memory: bool = False


@attrs.frozen(kw_only=True)
class Session:
    """
    A contender at work.

    Attributes:
        request: Sends one request and returns its status.
        attach: Does to one request all that is done for its token, with a canned answer for it.
        keep_fresh: Runs until cancelled.
    """

    request: Callable[[], Coroutine[Any, Any, int]]
    attach: Callable[[], Coroutine[Any, Any, None]] | None = None
    keep_fresh: Callable[[], Coroutine[Any, Any, None]] | None = None


Opener: TypeAlias = "Callable[[Setup], AbstractAsyncContextManager[Session]]"


@attrs.frozen(kw_only=True)
class Contender:
    """
    Who takes part.

    Attributes:
        name: In tables.
        kind: A floor sends a fixed header.
        distribution: Whose version is told.
        library: Over which its requests go; it is put against that one's floor, too.
        open: Sets it up.
        any_loop: Whether it runs on trio.
        blocks: Whether a login blocks the event loop.
        fixed_early: Seconds before its end that a token is renewed from, if that can't be set.
    """

    name: str
    kind: Kind
    distribution: str
    library: str
    open: Opener
    any_loop: bool = False
    blocks: bool = False
    fixed_early: float = 0.0

    @property
    def version(self) -> str:
        """The installed one."""
        return version(self.distribution)
