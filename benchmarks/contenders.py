"""What is compared, as values: a contender, and what a scenario asks of it. No library is named here."""

from __future__ import annotations

import json

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from benchmarks.service import Target
from taxizer_async import TokenStore


if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager


#: The path and the body of each request.
PATH: Final = "/v1/Invoices/GenerateInvoiceFromXml"
BODY: Final = json.dumps(
    {
        "uuid": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d",
        "deviceId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "invoiceNumber": "INV-1",
        "signedXmlInvoice": "PEludm9pY2UvPg==",
    }
).encode()
JSON: Final = {"Content-Type": "application/json"}
#: Connections that a client may open, unless a scenario says otherwise: one for each of the requests that
#: are in flight at most.
CONNECTIONS: Final = 512
#: Seconds that a request may take.
TIMEOUT: Final = 60.0

Kind = Literal["floor", "own", "peer"]


@attrs.frozen(kw_only=True)
class Setup:
    """
    The settings of a contender.

    Attributes:
        target: The sandbox.
        early: Seconds before a token expires at which it is renewed, where that can be set; None is the
            contender's default.
        store: The store of the package that shares the token.
        folder: The folder in which other libraries share the token, if they can.
        connections: How many it may open.
        in_memory: Whether httpx and httpx2 answer resource requests from memory. For each request that is
            done their pool looks at all that are queued, so the time of a large crowd would be quadratic.
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
    A contender that is ready to send.

    Attributes:
        request: Sends one request and returns its status.
        attach: Gives one request its token, and a canned answer.
    """

    request: Callable[[], Coroutine[Any, Any, int]]
    attach: Callable[[], Coroutine[Any, Any, None]] | None = None


@attrs.frozen(kw_only=True)
class SyncSession:
    """The same without an event loop; see `Session`."""

    request: Callable[[], int]
    attach: Callable[[], object] | None = None


Opener: TypeAlias = "Callable[[Setup], AbstractAsyncContextManager[Session]]"
SyncOpener: TypeAlias = "Callable[[Setup], AbstractContextManager[SyncSession]]"


@attrs.frozen(kw_only=True)
class Contender:
    """
    One way to authenticate requests.

    Attributes:
        name: Its name in tables.
        kind: A floor sends a fixed header.
        library: The HTTP library that sends its requests; it is compared with the floor of that, too.
        open: Sets it up.
        blocks: Whether a login blocks the event loop.
        fixed_early: Seconds before a token expires at which it is renewed, if that can't be set.
    """

    name: str
    kind: Kind
    library: str
    open: Opener
    blocks: bool = False
    fixed_early: float = 0.0


@attrs.frozen(kw_only=True)
class SyncContender:
    """
    A contender without an event loop.

    Attributes:
        name: What its async twin is called.
        kind: A floor sends a fixed header.
        library: See `Contender`.
        open: Sets it up.
        shared: Whether all threads share one; else each has its own.
    """

    name: str
    kind: Kind
    library: str
    open: SyncOpener
    shared: bool = True
