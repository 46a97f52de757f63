"""
The book-keeping of a sandbox: it counts visits, keeps the logs and wakes who waits for a count.

Which answer a request deserves is not decided here (see `_sandbox_tokens`, `_sandbox_app`). Called
from the server's thread and from the user's, so all of it happens under one lock.
"""

from __future__ import annotations

import collections
import threading
import time

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, final

from taxizer_async.testing._sandbox.records import (
    ExchangeEntry,
    ResourceEntry,
    SandboxCounters,
)


if TYPE_CHECKING:
    from collections.abc import Callable


Group = Literal["connect", "refresh", "resource"]

#: Entries that a log keeps, and bytes of bodies in it: a benchmark may run for hours.
LOG_ENTRIES: Final = 20_000
LOG_BYTES: Final = 64 * 1024 * 1024

#: The counters of a group: all of its requests, and those that were accepted.
_NAMES: Final[dict[Group, tuple[str, str]]] = {
    "connect": ("connects", "connects_ok"),
    "refresh": ("refreshes", "refreshes_ok"),
    "resource": ("resources", "resources_ok"),
}


@final
class Visit:
    """A request under way."""

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
    """Counts visits; *lock* is the sandbox's one lock."""

    def __init__(self, lock: threading.RLock) -> None:
        self._changed = threading.Condition(lock)
        self._under_way = 0
        self._body_bytes = 0
        self._counts: collections.Counter[str] = collections.Counter()
        self._paths: collections.Counter[str] = collections.Counter()
        self._exchanges: collections.deque[ExchangeEntry] = collections.deque(maxlen=LOG_ENTRIES)
        self._resources: collections.deque[ResourceEntry] = collections.deque()

    def arrive(self, visit: Visit) -> None:
        """Count *visit*, whose head has arrived."""
        with self._changed:
            self._counts[_NAMES[visit.group][0]] += 1
            self._paths[visit.path] += 1
            if visit.group != "resource":
                visit.under_way = True
                self._under_way += 1
                self._note_most()
            self._changed.notify_all()

    def leave(self, visit: Visit) -> None:
        """Take *visit* for over as far as concurrency goes; a second call does nothing."""
        with self._changed:
            if visit.under_way:
                visit.under_way = False
                self._under_way -= 1

    def finish_exchange(
        self,
        visit: Visit,
        kind: Literal["connect", "refresh"],
        status: int | None,
        *,
        accepted: bool,
    ) -> None:
        """Log an auth request; called before its answer is sent, so that nobody can overtake it."""
        entry = ExchangeEntry(
            kind=kind,
            started_at=visit.started_at,
            finished_at=time.monotonic(),
            status=status,
            had_authorization_header=visit.authorization is not None,
        )
        with self._changed:
            self.leave(visit)
            self._exchanges.append(entry)
            self._counts[_NAMES[visit.group][1]] += accepted
            self._changed.notify_all()

    def finish_resource(
        self,
        visit: Visit,
        status: int | None,
        *,
        accepted: bool,
        jwt_id: int | None,
        body: bytes,
    ) -> None:
        """Log any other request; called before its answer is sent."""
        entry = ResourceEntry(
            method=visit.method,
            path=visit.path,
            status=status,
            jwt_id=jwt_id,
            body=body,
            received_at=visit.started_at,
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
        """Count a spent refresh token that was presented again."""
        with self._changed:
            self._counts["reuses"] += 1
            self._changed.notify_all()

    def snapshot(self) -> SandboxCounters:
        """Return the counts of now."""
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
        """Start over: counts at nothing, logs empty."""
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
            TimeoutError: If it never did.
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
