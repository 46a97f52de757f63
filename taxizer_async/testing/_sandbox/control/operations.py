"""What can be done to a sandbox over HTTP: the method of `Sandbox` that each write calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, final

import attrs

from taxizer_async.testing._sandbox.control import bodies
from taxizer_async.testing._sandbox.control.schema import Schema
from taxizer_async.testing._sandbox.faults import Fault
from taxizer_async.testing._sandbox.parts import Controlled


#: Headers of an answer that say how long its body is, which is the server's to say.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})

#: What faults without a place fail.
_EVERYWHERE: Final = ("connect", "refresh", "resource")


Body = Mapping[str, Any]


@final
@attrs.frozen
class Operation:
    """One write: its method and path, what its body holds, and what it does."""

    method: str
    path: str
    summary: str
    body: Schema
    run: Callable[[Controlled, Body], None]


def _change(sandbox: Controlled, body: Body) -> None:
    for name, value in body.items():
        setattr(sandbox, name, value)


def _fail(sandbox: Controlled, body: Body) -> None:
    fault = _FAULTS[body["kind"]](body)
    where = body.get("where")
    for place in _EVERYWHERE if where is None else (where,):
        sandbox.fail(place, fault, times=body.get("times"))


def _heal(sandbox: Controlled, body: Body) -> None:
    sandbox.heal(body.get("where"))


def _revoke(sandbox: Controlled, body: Body) -> None:
    tokens = body.get("tokens", "jwts")
    if tokens != "refresh_tokens":
        sandbox.revoke()
    if tokens != "jwts":
        sandbox.revoke_refresh_tokens()


def _expire(sandbox: Controlled, body: Body) -> None:
    sandbox.expire(body.get("seconds", 0.0))


def _reset_counters(sandbox: Controlled, _body: Body) -> None:
    sandbox.reset_counters()


def _reset(sandbox: Controlled, _body: Body) -> None:
    sandbox.reset()


def _answer(body: Body) -> Fault:
    code = body["code"]
    headers = body.get("headers", {})
    if _FRAMING & {name.lower() for name in headers}:
        msg = "headers must not say how long the body is"
        raise ValueError(msg)
    if "body" not in body:
        if "content_type" in body:
            msg = "content_type needs a body"
            raise ValueError(msg)
        return Fault.status(code, headers=headers)
    content_type = body.get("content_type", "text/plain")
    text = body["body"]
    return Fault.status(code, headers=headers, body=text, content_type=content_type)


def _edit(body: Body) -> Fault:
    removed = dict.fromkeys(body.get("remove", []), Fault.MISSING)
    fields = body.get("fields", {}) | removed
    if not fields:
        msg = "an edit needs fields or remove"
        raise ValueError(msg)
    return Fault(kind="edit", fields=tuple(fields.items()))


_FAULTS: Final[dict[str, Callable[[Body], Fault]]] = {
    "answer": _answer,
    "reset": lambda _: Fault.reset(),
    "truncate": lambda _: Fault.truncate(),
    "drop": lambda _: Fault.drop_after_processing(),
    "hang": lambda body: Fault.hang(body.get("seconds")),
    "edit": _edit,
}

OPERATIONS: Final = (
    Operation("PATCH", "/_sandbox/settings", "Change settings.", bodies.CHANGE, _change),
    Operation("POST", "/_sandbox/fail", "Let requests meet a fault.", bodies.FAULT, _fail),
    Operation("POST", "/_sandbox/heal", "Drop the faults of a place.", bodies.HEAL, _heal),
    Operation(
        "POST", "/_sandbox/revoke", "Refuse the tokens issued so far.", bodies.REVOKE, _revoke
    ),
    Operation(
        "POST", "/_sandbox/expire", "End the lives of the JWTs so far.", bodies.EXPIRE, _expire
    ),
    Operation("POST", "/_sandbox/reset-counters", "Count from 0.", bodies.EMPTY, _reset_counters),
    Operation(
        "POST",
        "/_sandbox/reset",
        "Heal all, go back to the settings of the start, and count from 0; tokens stay good.",
        bodies.EMPTY,
        _reset,
    ),
)
