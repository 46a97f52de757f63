"""
What a sandbox has seen: its counters and its logs.

The server's thread writes them and other threads read them, all under one lock.
"""

from __future__ import annotations

import collections
import threading
import time

from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Literal, final

import attrs


Group = Literal["connect", "refresh", "resource"]

#: Entries that a log keeps, and bytes of bodies in it; a benchmark may run for hours.
LOG_ENTRIES: Final = 20_000
LOG_BYTES: Final = 64 * 1024 * 1024

#: The counters of a group: all of its requests, and those that were accepted.
_NAMES: Final[dict[Group, tuple[str, str]]] = {
    "connect": ("connects", "connects_ok"),
    "refresh": ("refreshes", "refreshes_ok"),
    "resource": ("resources", "resources_ok"),
}


@final
@attrs.frozen(kw_only=True)
class SandboxCounters:
    """
    The counters of a sandbox at one moment; a request counts once its head has arrived.

    Attributes:
        connects: Requests to Connect.
        connects_ok: Those that were issued tokens, whether or not the answer got through.
        refreshes: Requests to AppRefreshToken.
        refreshes_ok: Those that were issued tokens, whether or not the answer got through.
        reuses: Spent refresh tokens that were presented again.
        resources: All other requests.
        resources_ok: Those that were accepted: answered with a 2xx, not by a fault.
        unauthorized: Those that were answered 401.
        max_concurrent_exchanges: The most exchanges under way at a time; one ends when its client
            leaves.
        by_path: Requests per path.
    """

    connects: int = 0
    connects_ok: int = 0
    refreshes: int = 0
    refreshes_ok: int = 0
    reuses: int = 0
    resources: int = 0
    resources_ok: int = 0
    unauthorized: int = 0
    max_concurrent_exchanges: int = 0
    by_path: Mapping[str, int] = attrs.field(factory=dict[str, int])

    @property
    def exchanges(self) -> int:
        """Connects and refreshes."""
        return self.connects + self.refreshes


@final
@attrs.frozen(kw_only=True)
class ExchangeEntry:
    """
    One finished request to an auth endpoint.

    Attributes:
        kind: Which endpoint.
        started_at: When its head had arrived (`time.monotonic`).
        finished_at: When its answer was about to be sent (`time.monotonic`).
        status: The answer's status; None if there was none to send.
        had_authorization_header: Whether it carried one, which the contract does not ask for.
    """

    kind: Literal["connect", "refresh"]
    started_at: float
    finished_at: float
    status: int | None
    had_authorization_header: bool


@final
@attrs.frozen(kw_only=True)
class ResourceEntry:
    """
    One finished request to anything else.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The answer's status; None if there was none to send.
        jwt_id: The number of the JWT that it carried, from 1; None if that was not issued here.
        body: The request's body.
        received_at: When its head had arrived (`time.monotonic`).
    """

    method: str
    path: str
    status: int | None
    jwt_id: int | None
    body: bytes = attrs.field(repr=False)
    received_at: float


@final
class RequestRecord:
    """What is known of one request."""

    __slots__ = (
        "authorization",
        "finished",
        "group",
        "method",
        "path",
        "started_at",
        "under_way",
    )

    def __init__(self, group: Group, method: str, path: str, authorization: bytes | None) -> None:
        self.group: Group = group
        self.method = method
        self.path = path
        self.authorization = authorization
        self.started_at = time.monotonic()
        self.under_way = False
        self.finished = False


@final
class Recorder:
    """Counts and logs requests under *lock*, the one lock of the sandbox."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)
        self._under_way = 0
        self._body_bytes = 0
        self._counts: collections.Counter[str] = collections.Counter()
        self._paths: collections.Counter[str] = collections.Counter()
        self._exchanges: collections.deque[ExchangeEntry] = collections.deque(maxlen=LOG_ENTRIES)
        self._resources: collections.deque[ResourceEntry] = collections.deque()

    def arrive(self, record: RequestRecord) -> None:
        """Count a request whose head has arrived."""
        with self._changed:
            self._counts[_NAMES[record.group][0]] += 1
            self._paths[record.path] += 1
            if record.group != "resource":
                record.under_way = True
                self._under_way += 1
                self._note_most()
            self._changed.notify_all()

    def leave(self, record: RequestRecord) -> None:
        """No longer count it as under way; a second call does nothing."""
        with self._changed:
            if record.under_way:
                record.under_way = False
                self._under_way -= 1

    def finish_exchange(
        self,
        record: RequestRecord,
        kind: Literal["connect", "refresh"],
        status: int | None,
        *,
        accepted: bool,
    ) -> None:
        """Log an auth request, before its answer is sent."""
        entry = ExchangeEntry(
            kind=kind,
            started_at=record.started_at,
            finished_at=time.monotonic(),
            status=status,
            had_authorization_header=record.authorization is not None,
        )
        with self._changed:
            self.leave(record)
            self._exchanges.append(entry)
            self._counts[_NAMES[record.group][1]] += accepted
            self._changed.notify_all()

    def finish_resource(
        self,
        record: RequestRecord,
        status: int | None,
        *,
        accepted: bool,
        jwt_id: int | None,
        body: bytes,
    ) -> None:
        """Log any other request, before its answer is sent."""
        entry = ResourceEntry(
            method=record.method,
            path=record.path,
            status=status,
            jwt_id=jwt_id,
            body=body,
            received_at=record.started_at,
        )
        with self._changed:
            self._resources.append(entry)
            self._body_bytes += len(body)
            while len(self._resources) > LOG_ENTRIES or self._body_bytes > LOG_BYTES:
                self._body_bytes -= len(self._resources.popleft().body)
            self._counts["resources_ok"] += accepted
            self._counts["unauthorized"] += status == HTTPStatus.UNAUTHORIZED
            self._changed.notify_all()

    def reuse(self) -> None:
        """Count the reuse of a spent refresh token."""
        with self._changed:
            self._counts["reuses"] += 1
            self._changed.notify_all()

    def snapshot(self) -> SandboxCounters:
        """Return the current counters."""
        with self._changed:
            counts = self._counts
            return SandboxCounters(
                connects=counts["connects"],
                connects_ok=counts["connects_ok"],
                refreshes=counts["refreshes"],
                refreshes_ok=counts["refreshes_ok"],
                reuses=counts["reuses"],
                resources=counts["resources"],
                resources_ok=counts["resources_ok"],
                unauthorized=counts["unauthorized"],
                max_concurrent_exchanges=counts["max_concurrent_exchanges"],
                by_path=MappingProxyType(dict(self._paths)),
            )

    def reset(self) -> None:
        """Set the counters to 0, and empty the logs."""
        with self._changed:
            self._counts.clear()
            self._paths.clear()
            self._exchanges.clear()
            self._resources.clear()
            self._body_bytes = 0
            self._note_most()

    def wait_until(self, predicate: Callable[[SandboxCounters], bool], timeout: float) -> None:
        """
        Block until *predicate* holds, for at most *timeout* seconds.

        Raises:
            TimeoutError: If it did not hold in time.
        """
        with self._changed:
            if self._changed.wait_for(lambda: predicate(self.snapshot()), timeout):
                return
            msg = f"not within {timeout:g} s; the sandbox saw {self.snapshot()}"
        raise TimeoutError(msg)

    @property
    def exchange_log(self) -> tuple[ExchangeEntry, ...]:
        """The latest auth requests."""
        with self._changed:
            return tuple(self._exchanges)

    @property
    def resource_log(self) -> tuple[ResourceEntry, ...]:
        """The latest other requests."""
        with self._changed:
            return tuple(self._resources)

    def _note_most(self) -> None:
        most = max(self._counts["max_concurrent_exchanges"], self._under_way)
        self._counts["max_concurrent_exchanges"] = most
