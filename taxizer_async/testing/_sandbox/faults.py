"""What can go wrong at a sandbox, as values, and which request meets which fault; `app` carries them out."""

from __future__ import annotations

import collections
import enum
import json
import threading

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Final, Literal, final

import attrs

from taxizer_async.testing._sandbox.gate import Gate, Signal


#: The challenge with which an ASP.NET API refuses a token.
CHALLENGE: Final = 'Bearer error="invalid_token"'

_GROUPS: Final = frozenset({"connect", "refresh", "resource"})

#: HTTP statuses of final answers.
_FINAL: Final = range(200, 600)

FaultKind = Literal["answer", "reset", "hang", "truncate", "drop", "edit"]


class _Missing(enum.Enum):
    MISSING = "MISSING"


@final
@attrs.frozen(kw_only=True)
class Fault:
    """
    One way to fail, made by a class method for `Sandbox.fail`.

    Attributes:
        kind: How it works. Each of the other attributes matters to some kinds only.
        code: The HTTP status of an "answer".
        headers: The headers of an "answer".
        content: The body of an "answer".
        seconds: How long a "hang" lasts; None: until healed.
        fields: What an "edit" replaces.
    """

    #: As a value of `edit` it removes the field.
    MISSING: ClassVar[_Missing] = _Missing.MISSING

    kind: FaultKind
    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = attrs.field(default=b"", repr=False)
    seconds: float | None = None
    fields: tuple[tuple[str, object], ...] = ()

    @classmethod
    def status(
        cls,
        code: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        content_type: str = "text/plain",
    ) -> Fault:
        """
        Answer with the status *code*, *headers* and *body*; nothing is processed.

        The default *body* is JSON with the status, like the API's own errors.

        Raises:
            ValueError: If *code* is not a final HTTP status (200 to 599).
        """
        if body is None:
            content = json.dumps({"title": _phrase(code), "status": code}).encode()
            return cls._answer(code, headers, content, "application/problem+json")
        return cls._answer(code, headers, body.encode(), content_type)

    @classmethod
    def junk(
        cls,
        body: bytes,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Fault:
        """
        Answer with the bytes of *body*, whatever they are; nothing is processed.

        Raises:
            ValueError: If *status* is not a final HTTP status (200 to 599).
        """
        return cls._answer(status, headers, body, content_type)

    @classmethod
    def unauthorized(cls, www_authenticate: str | None = None) -> Fault:
        """
        Answer 401; nothing is processed.

        *www_authenticate* is the value of the header: None means `Bearer error="invalid_token"`, and an
        empty string means no header.
        """
        value = CHALLENGE if www_authenticate is None else www_authenticate
        headers = {"WWW-Authenticate": value} if value else {}
        return cls._answer(
            401, headers, b'{"title":"Unauthorized","status":401}', "application/json"
        )

    @classmethod
    def reset(cls) -> Fault:
        """Abort the TCP connection (RST) instead of answering; nothing is processed."""
        return cls(kind="reset")

    @classmethod
    def hang(cls, seconds: float | None = None) -> Fault:
        """
        Process the request only after *seconds*, or once healed if that is sooner (None: only once healed).

        If its client has left by then, it is not processed.
        """
        return cls(kind="hang", seconds=seconds)

    @classmethod
    def truncate(cls) -> Fault:
        """Process the request, then send half of the answer's body and close the connection."""
        return cls(kind="truncate")

    @classmethod
    def drop_after_processing(cls) -> Fault:
        """Process the request, then abort the TCP connection (RST) instead of answering."""
        return cls(kind="drop")

    @classmethod
    def edit(cls, **fields: object) -> Fault:
        """Process the request, then replace JSON *fields* of the answer (`MISSING` removes one)."""
        return cls(kind="edit", fields=tuple(fields.items()))

    @classmethod
    def _answer(
        cls,
        code: int,
        headers: Mapping[str, str] | None,
        content: bytes,
        content_type: str,
    ) -> Fault:
        if code not in _FINAL:
            msg = f"a fault's status is one of 200 to 599, not {code}"
            raise ValueError(msg)
        pairs = tuple((headers or {}).items())
        if not any(name.lower() == "content-type" for name, _ in pairs):
            pairs += (("Content-Type", content_type),)
        return cls(kind="answer", code=code, headers=pairs, content=content)


@final
@attrs.define
class _Planned:
    """A fault, and how many more requests meet it; None: all."""

    fault: Fault
    times: int | None


@final
@attrs.frozen
class _Place:
    """The faults of a place, and the signal that is set when it is healed."""

    queue: collections.deque[_Planned] = attrs.field(factory=collections.deque[_Planned])
    healed: Signal = attrs.field(factory=Signal)


@final
class FaultPlan:
    """Faults and gates per place: a group of endpoints, or one exact path, which has precedence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}
        self._gates: tuple[Gate, ...] = ()

    def fail(self, where: str, fault: Fault, times: int | None) -> None:
        """Queue *fault* after those of *where*; it replaces a last one without end."""
        _check_place(where)
        if times is not None and times < 1:
            msg = f"times is a positive number or None, not {times}"
            raise ValueError(msg)
        with self._lock:
            queue = self._places.setdefault(where, _Place()).queue
            if queue and queue[-1].times is None:
                queue.pop()
            queue.append(_Planned(fault, times))

    def heal(self, where: str | None) -> None:
        """Drop the faults of *where* (None: everywhere), and end the hangs there."""
        if where is not None:
            _check_place(where)
        with self._lock:
            names = [where] if where is not None else list(self._places)
            healed = [self._places.pop(name) for name in names if name in self._places]
        for place in healed:
            place.healed.set()

    def claim(self, group: str, path: str) -> tuple[Fault, Signal] | None:
        """Take the next fault for a request, if there is one, and the signal that is set once it is healed."""
        if not self._places:
            return None
        with self._lock:
            for place in (self._places.get(path), self._places.get(group)):
                if place is not None and place.queue:
                    return _next(place.queue), place.healed
        return None

    def planned(self) -> list[tuple[str, Fault, int | None]]:
        """Return the faults to come: where, which, and how many requests meet it (None: all)."""
        with self._lock:
            return [
                (where, planned.fault, planned.times)
                for where, place in self._places.items()
                for planned in place.queue
            ]

    def hold(self, where: str) -> Gate:
        _check_place(where)
        gate = Gate(where)
        with self._lock:
            self._gates = (*(other for other in self._gates if not other.released), gate)
        return gate

    def gates(self, group: str, path: str) -> tuple[Gate, ...]:
        return tuple(
            gate for gate in self._gates if gate.where in {group, path} and not gate.released
        )


def _next(queue: collections.deque[_Planned]) -> Fault:
    planned = queue[0]
    if planned.times is not None:
        planned.times -= 1
        if planned.times == 0:
            queue.popleft()
    return planned.fault


def _check_place(where: str) -> None:
    if where in _GROUPS or where.startswith("/"):
        return
    msg = f'where is "connect", "refresh", "resource" or a path, not {where!r}'
    raise ValueError(msg)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unknown"
