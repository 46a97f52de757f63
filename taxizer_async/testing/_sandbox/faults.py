"""
What can go wrong at a sandbox, as values.

Nothing here knows how a fault is carried out (see `_sandbox_app`) or whose turn it is (see
`_sandbox_script`).
"""

from __future__ import annotations

import collections
import enum
import json
import threading

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final, Literal, final

import attrs

from taxizer_async.testing._sandbox.gate import Gate, Signal


if TYPE_CHECKING:
    from collections.abc import Mapping


#: What an ASP.NET API says of a token that it does not take.
CHALLENGE: Final = 'Bearer error="invalid_token"'

_GROUPS: Final = frozenset({"connect", "refresh", "resource"})

#: Statuses that end an exchange.
_FINAL: Final = range(200, 600)

FaultKind = Literal["answer", "reset", "hang", "truncate", "drop", "edit"]


class _Missing(enum.Enum):
    MISSING = "MISSING"


@final
@attrs.frozen(kw_only=True)
class Fault:
    """
    One way to fail; made by the class methods, handed to `Sandbox.fail`.

    Attributes:
        kind: How the fault works; the other attributes matter to some kinds only.
        code: The HTTP status of an "answer".
        headers: The headers of an "answer".
        content: The body of an "answer".
        seconds: How long a "hang" lasts; None is until healed.
        fields: What an "edit" replaces.
    """

    #: Given to `edit` as a value, it takes the field away.
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

        Without a *body* it is a JSON one that says the status, as an API's own errors do.

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
        Answer with the bytes *body*, whatever they are; nothing is processed.

        Raises:
            ValueError: If *status* is not a final HTTP status (200 to 599).
        """
        return cls._answer(status, headers, body, content_type)

    @classmethod
    def unauthorized(cls, www_authenticate: str | None = None) -> Fault:
        """
        Answer 401; nothing is processed.

        *www_authenticate* is the header's value: None is `Bearer error="invalid_token"`, an empty
        string leaves the header out.
        """
        value = CHALLENGE if www_authenticate is None else www_authenticate
        headers = {"WWW-Authenticate": value} if value else {}
        return cls._answer(
            401, headers, b'{"title":"Unauthorized","status":401}', "application/json"
        )

    @classmethod
    def reset(cls) -> Fault:
        """Abort the TCP connection (RST) in place of an answer; nothing is processed."""
        return cls(kind="reset")

    @classmethod
    def hang(cls, seconds: float | None = None) -> Fault:
        """
        Answer only after *seconds*, or once healed if that is sooner (None: only then).

        The request is processed after the wait, unless its client has left by then.
        """
        return cls(kind="hang", seconds=seconds)

    @classmethod
    def truncate(cls) -> Fault:
        """Process the request, then send half of the answer's body and close the connection."""
        return cls(kind="truncate")

    @classmethod
    def drop_after_processing(cls) -> Fault:
        """Process the request, then abort the TCP connection (RST) in place of the answer."""
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
class _Turn:
    """A fault and how many more requests get it; None is all."""

    __slots__ = ("fault", "times")

    def __init__(self, fault: Fault, times: int | None) -> None:
        self.fault = fault
        self.times = times


@final
class FaultPlan:
    """Faults and gates per place: a group of endpoints or one exact path, which goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, collections.deque[_Turn]] = {}
        self._healings: dict[str, Signal] = {}
        self._gates: tuple[Gate, ...] = ()

    def fail(self, where: str, fault: Fault, times: int | None) -> None:
        """Queue *fault* behind those of *where*; one without end gives way to it."""
        _check_place(where)
        if times is not None and times < 1:
            msg = f"times is a positive number or None, not {times}"
            raise ValueError(msg)
        with self._lock:
            turns = self._turns.setdefault(where, collections.deque())
            if turns and turns[-1].times is None:
                turns.pop()
            turns.append(_Turn(fault, times))

    def heal(self, where: str | None) -> None:
        """Drop the faults of *where* (None: all) and end the hangs there."""
        if where is not None:
            _check_place(where)
        with self._lock:
            healed = set(self._healings) if where is None else {where}
            signals = [self._healings.pop(place, None) for place in healed]
            if where is None:
                self._turns.clear()
            else:
                self._turns.pop(where, None)
        for signal in signals:
            if signal is not None:
                signal.set()

    def claim(self, group: str, path: str) -> tuple[Fault, Signal] | None:
        """Take the next fault for a request, if there is one, with the signal of its healing."""
        if not self._turns:
            return None
        with self._lock:
            for place in (path, group):
                turns = self._turns.get(place)
                if turns:
                    healing = self._healings.setdefault(place, Signal())
                    return self._next(place, turns), healing
        return None

    def hold(self, where: str) -> Gate:
        """Set up a gate at *where*."""
        _check_place(where)
        gate = Gate(where)
        with self._lock:
            self._gates = (
                *(other for other in self._gates if not other.released),
                gate,
            )
        return gate

    def gates(self, group: str, path: str) -> tuple[Gate, ...]:
        """Return the gates that a request has to pass."""
        return tuple(
            gate for gate in self._gates if gate.where in {group, path} and not gate.released
        )

    def _next(self, place: str, turns: collections.deque[_Turn]) -> Fault:
        turn = turns[0]
        if turn.times is not None:
            turn.times -= 1
            if turn.times == 0:
                turns.popleft()
        if not turns:
            del self._turns[place]
        return turn.fault


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
