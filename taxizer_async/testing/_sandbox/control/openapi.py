"""The OpenAPI description of the control interface, made from the writes and the schemas that check them."""

from __future__ import annotations

from typing import Final

import attrs

from taxizer_async._version import __version__
from taxizer_async.testing._sandbox.control import bodies
from taxizer_async.testing._sandbox.control.operations import OPERATIONS, Operation
from taxizer_async.testing._sandbox.control.schema import Schema
from taxizer_async.testing._sandbox.recorder import SandboxCounters


#: The paths of the reads.
OPENAPI: Final = "/_sandbox/openapi.json"
STATE: Final = "/_sandbox/state"
EVENTS: Final = "/_sandbox/events"

_INTEGER: Final = {"type": "integer"}
_NUMBER: Final = {"type": "number"}
_STRING: Final = {"type": "string"}
_INTEGER_OR_NULL: Final = {"type": ["integer", "null"]}
_STRING_OR_NULL: Final = {"type": ["string", "null"]}

_COUNTERS: Final = [
    *(field.name for field in attrs.fields(SandboxCounters) if field.name != "by_path"),
    "exchanges",
]

_ABOUT: Final = """\
Drives the sandbox in tests of services in any language, and shows what it sees. Only programs on this machine
and the sandbox's own page may use it: `Host` is loopback, and `Origin` is absent or the sandbox's. Nothing here
is counted, and no fault or latency concerns it."""

#: The fields of events besides *at*, by the name of their schema; `RequestEvent` serves four kinds.
_EVENTS: Final[dict[str, dict[str, Schema]]] = {
    "RequestEvent": {
        "method": _STRING,
        "path": _STRING | {"description": "Without the query; 200 characters at most."},
        "status": _INTEGER_OR_NULL | {"description": "null: there was no answer."},
        "ok": {"type": "boolean", "description": "Whether it was processed, with a 2xx."},
        "seconds": _NUMBER | {"description": "Since its head had arrived."},
        "fault": _STRING_OR_NULL | {"description": "The kind of the fault that it met."},
        "token": _INTEGER_OR_NULL
        | {"description": "The number of the JWT that it carried, or that it was given."},
        "ends_at": {
            "type": ["number", "null"],
            "description": "When the JWT that it was given ends (Unix seconds).",
        },
    },
    "FailEvent": {
        "where": _STRING,
        "fault": _STRING,
        "code": _INTEGER_OR_NULL,
        "times": _INTEGER_OR_NULL,
    },
    "HealEvent": {"where": _STRING_OR_NULL},
    "RevokeEvent": {"tokens": {"enum": ["jwts", "refresh_tokens"]}},
    "ExpireEvent": {"seconds": _NUMBER},
    "SettingEvent": {"name": {"enum": list(bodies.SETTINGS)}, "value": {}},
    "ResetEvent": {"what": {"enum": ["counters", "everything"]}},
}

_EVENTS_ABOUT: Final = """\
Server-sent events: `state` at first and whenever it has changed, once a second at most or after an act of
control; the latest 1,000 events, or those after `Last-Event-ID`; then each event as it happens. Requests are
`login`, `renewal`, `unauthorized` and `request`, each a `RequestEvent`; acts of control are `fail`, `heal`,
`revoke`, `expire`, `setting` and `reset`, each with a schema of its name. `dropped` has *events*, the number that a
slow reader missed. No event holds a secret."""


def describe() -> dict[str, object]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taxizer sandbox", "version": __version__, "description": _ABOUT},
        "paths": {
            STATE: {"get": _read("state", "Return the state.", _json(_ref("State")))},
            EVENTS: {"get": _events()},
            OPENAPI: {"get": _read("openapi", "Return this document.", _json({"type": "object"}))},
            **{each.path: {each.method.lower(): _write(each)} for each in OPERATIONS},
        },
        "components": {"schemas": _schemas(), "responses": _REFUSALS},
    }


def _read(name: str, summary: str, content: Schema, *refusals: str) -> dict[str, object]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": content},
            **_refused("403", *refusals),
        },
    }


def _events() -> dict[str, object]:
    content = {"text/event-stream": {"schema": _STRING}}
    return _read("events", "Follow the events.", content, "503") | {
        "description": _EVENTS_ABOUT,
        "parameters": [{"name": "Last-Event-ID", "in": "header", "schema": _STRING}],
    }


def _write(operation: Operation) -> Schema:
    name = operation.path.rpartition("/")[2].replace("-", "_")
    body = _ref("Fault") if operation.body is bodies.FAULT else operation.body
    return {
        "operationId": name,
        "summary": operation.summary,
        "requestBody": {"required": True, "content": _json(body)},
        "responses": {
            "200": {"description": "The state after it.", "content": _json(_ref("State"))},
            **_refused("400", "403", "413", "415"),
        },
    }


def _schemas() -> Schema:
    names = {kind: f"{kind.capitalize()}Fault" for kind in bodies.FAULTS}
    references = {kind: _ref(name) for kind, name in names.items()}
    return {
        "State": _state(),
        "Problem": _object(
            {"type": _STRING, "title": _STRING, "status": _INTEGER, "detail": _STRING}
        ),
        "Fault": {
            "oneOf": list(references.values()),
            "discriminator": {
                "propertyName": "kind",
                "mapping": {kind: reference["$ref"] for kind, reference in references.items()},
            },
        },
        **{names[kind]: schema for kind, schema in bodies.FAULTS.items()},
        **{name: _object({"at": _NUMBER, **fields}) for name, fields in _EVENTS.items()},
    }


def _state() -> Schema:
    token = _object(
        {"number": _INTEGER, "issued_at": _NUMBER, "ends_at": _NUMBER, "good": {"type": "boolean"}}
    )
    counters = dict.fromkeys(_COUNTERS, _INTEGER) | {
        "by_path": {"type": "object", "additionalProperties": _INTEGER}
    }
    planned = {
        "type": "object",
        "required": ["where", "times", "kind"],
        "properties": {
            "where": _STRING,
            "times": _INTEGER_OR_NULL,
            "kind": {"enum": list(bodies.FAULTS)},
        },
    }
    return _object(
        {
            "run": _STRING | {"description": "Another one is another sandbox."},
            "version": _STRING,
            "at": _NUMBER | {"description": "Unix seconds, by the clock of the machine."},
            "last_event_id": _STRING_OR_NULL,
            "requests_per_second": _INTEGER | {"description": "Those of the last whole second."},
            "token": {"oneOf": [token, {"type": "null"}], "description": "The newest JWT."},
            "counters": _object(counters),
            "settings": _object(bodies.SETTINGS),
            "faults": {"type": "array", "items": planned},
        }
    )


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Schema) -> dict[str, object]:
    return {"application/json": {"schema": schema}}


def _refused(*statuses: str) -> dict[str, object]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _refusal(description: str) -> Schema:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {"description": description, "content": content}


_REFUSALS: Final[Schema] = {
    "400": _refusal("The body is not as described; `detail` says what is wrong."),
    "403": _refusal("`Host` is not loopback, or `Origin` is not the sandbox's."),
    "413": _refusal("The body is too long."),
    "415": _refusal("`Content-Type` is not application/json."),
    "503": _refusal("Too many readers."),
}
