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

#: The most entries of a log, and the most bytes of bodies in it, as a benchmark may run for hours.
LOG_ENTRIES: Final = 20_000
LOG_BYTES: Final = 64 * 1024 * 1024

#: The counter of each group; the accepted requests are counted beside it, as `…_ok`.
_COUNTERS: Final[dict[Group, str]] = {
    "connect": "connects",
    "refresh": "refreshes",
    "resource": "resources",
}


@final
@attrs.frozen(kw_only=True)
class SandboxCounters:
    """
    The counters of a sandbox at one moment; a request counts once its head has arrived.

    Attributes:
        connects: Requests to Connect.
        connects_ok: Those that issued tokens, even if the answer was lost.
        refreshes: Requests to AppRefreshToken.
        refreshes_ok: Those that issued tokens, even if the answer was lost.
        reuses: Spent refresh tokens that were presented again.
        resources: All other requests.
        resources_ok: Those that were answered with a 2xx, and not by a fault.
        unauthorized: Those that were answered with a 401.
        max_concurrent_exchanges: The most exchanges under way at a time; one is over when its client leaves.
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
        """Connects and refreshes together."""
        return self.connects + self.refreshes


@final
@attrs.frozen(kw_only=True)
class ExchangeEntry:
    """
    One finished request to an auth endpoint.

    Attributes:
        kind: The endpoint.
        started_at: When its head had arrived (`time.monotonic`).
        finished_at: When its answer was about to be sent (`time.monotonic`).
        status: The status of the answer; None if there was no answer.
        had_authorization_header: Whether it had one, which the contract does not ask for.
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
    One finished request to any other path.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The status of the answer; None if there was no answer.
        jwt_id: The number of the JWT that it carried, from 1; None if that was not issued here.
        body: The body of the request.
        received_at: When its head had arrived (`time.monotonic`).
    """

    method: str
    path: str
    status: int | None
    jwt_id: int | None
    body: bytes = attrs.field(repr=False)
    received_at: float


@final
@attrs.define(eq=False)
class RequestRecord:
    group: Group
    method: str
    path: str
    authorization: bytes | None
    fault: str | None = None
    started_at: float = attrs.field(factory=time.monotonic)
    finished: bool = False


@final
class _Meter:
    """Counts what happens in a second."""

    def __init__(self) -> None:
        self._second: int = 0
        self._count = 0
        self._before = 0

    def tick(self) -> None:
        self._turn()
        self._count += 1

    def read(self) -> int:
        """Return the count of the last whole second."""
        self._turn()
        return self._before

    def _turn(self) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second = second
            self._count = 0


@final
class Recorder:
    """Counts and logs requests under *lock*, the one lock of the sandbox."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)
        self._under_way: set[RequestRecord] = set()
        self._body_bytes = 0
        self._meter = _Meter()
        self._counts: collections.Counter[str] = collections.Counter()
        self._paths: collections.Counter[str] = collections.Counter()
        self._exchanges: collections.deque[ExchangeEntry] = collections.deque(maxlen=LOG_ENTRIES)
        self._resources: collections.deque[ResourceEntry] = collections.deque()

    def arrive(self, record: RequestRecord) -> None:
        with self._changed:
            self._counts[_COUNTERS[record.group]] += 1
            self._paths[record.path] += 1
            if record.group != "resource":
                self._under_way.add(record)
                self._note_most()
            self._changed.notify_all()

    def leave(self, record: RequestRecord) -> None:
        """No longer count it as under way; a second call does nothing."""
        with self._changed:
            self._under_way.discard(record)

    def finish(
        self,
        record: RequestRecord,
        status: int | None,
        *,
        accepted: bool,
        jwt_id: int | None = None,
        body: bytes = b"",
    ) -> bool:
        """Log a request before its answer is sent; return False if it is logged already."""
        with self._changed:
            if record.finished:
                return False
            record.finished = True
            self._meter.tick()
            self.leave(record)
            self._counts[f"{_COUNTERS[record.group]}_ok"] += accepted
            if record.group == "resource":
                self._log_resource(record, status, jwt_id, body)
            else:
                self._log_exchange(record, record.group, status)
            self._changed.notify_all()
            return True

    def _log_exchange(
        self, record: RequestRecord, kind: Literal["connect", "refresh"], status: int | None
    ) -> None:
        self._exchanges.append(
            ExchangeEntry(
                kind=kind,
                started_at=record.started_at,
                finished_at=time.monotonic(),
                status=status,
                had_authorization_header=record.authorization is not None,
            )
        )

    def _log_resource(
        self, record: RequestRecord, status: int | None, jwt_id: int | None, body: bytes
    ) -> None:
        self._counts["unauthorized"] += status == HTTPStatus.UNAUTHORIZED
        self._resources.append(
            ResourceEntry(
                method=record.method,
                path=record.path,
                status=status,
                jwt_id=jwt_id,
                body=body,
                received_at=record.started_at,
            )
        )
        self._body_bytes += len(body)
        while len(self._resources) > LOG_ENTRIES or self._body_bytes > LOG_BYTES:
            self._body_bytes -= len(self._resources.popleft().body)

    def reuse(self) -> None:
        with self._changed:
            self._counts["reuses"] += 1
            self._changed.notify_all()

    @property
    def requests_per_second(self) -> int:
        with self._changed:
            return self._meter.read()

    def snapshot(self) -> SandboxCounters:
        with self._changed:
            paths = MappingProxyType(dict(self._paths))
            return SandboxCounters(by_path=paths, **self._counts)

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
        with self._changed:
            return tuple(self._exchanges)

    @property
    def resource_log(self) -> tuple[ResourceEntry, ...]:
        with self._changed:
            return tuple(self._resources)

    def _note_most(self) -> None:
        most = max(self._counts["max_concurrent_exchanges"], len(self._under_way))
        self._counts["max_concurrent_exchanges"] = most
