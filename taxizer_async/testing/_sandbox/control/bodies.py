"""The bodies of the writes, as JSON Schema: what is checked, and what the OpenAPI description says."""

from __future__ import annotations

from typing import Final

from taxizer_async.testing._sandbox.control.schema import Schema
from taxizer_async.testing._sandbox.tokens import TIMESTAMP_STYLES


#: Seconds beyond which a time leaves the calendar.
_MOST: Final = 10**9

_LATENCY: Final = {
    "type": "number",
    "minimum": 0,
    "maximum": _MOST,
    "description": "Seconds before the endpoint looks at a request.",
}
_FLAG: Final = {"type": "boolean"}
_TEXT: Final = {"type": "string"}

#: A header's name and value, as h11 can send them.
_HEADER_NAME: Final[Schema] = {
    "type": "string",
    "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    "description": "the name of a header",
}
_HEADER_VALUE: Final = {
    "type": "string",
    "pattern": "^([!-~]([ -~]*[!-~])?)?$",
    "description": "the value of a header, in visible ASCII",
}

_WHERE: Final[Schema] = {
    "type": ["string", "null"],
    "pattern": "^(connect|refresh|resource|/.*)$",
    "description": '"connect", "refresh", "resource", an exact path, or null for all',
}
_TIMES: Final[Schema] = {
    "type": ["integer", "null"],
    "minimum": 1,
    "maximum": _MOST,
    "description": "How many requests meet it; null: all until it is healed.",
}

#: A body without fields.
EMPTY: Final[Schema] = {"type": "object", "additionalProperties": False, "properties": {}}


def _seconds(description: str, *, low: int) -> Schema:
    return {"type": "number", "minimum": low, "maximum": _MOST, "description": description}


def _fields(properties: Schema, *required: str) -> Schema:
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | {"required": list(required)} if required else schema


#: The attributes of `Sandbox` that may be set.
SETTINGS: Final[Schema] = {
    "lifetime": _seconds("Seconds that a JWT lives; 0 or less: it looks expired.", low=-_MOST),
    "refresh_lifetime": _seconds("Seconds that a refresh token lives.", low=-_MOST),
    "connect_latency": _LATENCY,
    "refresh_latency": _LATENCY,
    "resource_latency": _LATENCY,
    "clock_offset": _seconds("Seconds that the server's clock is ahead.", low=-_MOST),
    "timestamp_style": {"type": "string", "enum": list(TIMESTAMP_STYLES)},
    "rotate": _FLAG,
    "reuse_detection": _FLAG,
    "send_date": _FLAG,
    "refusal_status": {"type": "integer", "minimum": 400, "maximum": 599},
}

CHANGE: Final[Schema] = _fields(SETTINGS)


def _fault(kind: str, properties: Schema, *required: str) -> Schema:
    fields = {"kind": {"type": "string", "const": kind}, "where": _WHERE, "times": _TIMES}
    return _fields(fields | dict(properties), "kind", *required)


#: What each kind of fault holds.
FAULTS: Final[dict[str, Schema]] = {
    "answer": _fault(
        "answer",
        {
            "code": {"type": "integer", "minimum": 200, "maximum": 599},
            "headers": {
                "type": "object",
                "propertyNames": _HEADER_NAME,
                "additionalProperties": _HEADER_VALUE,
            },
            "body": _TEXT | {"description": "By default JSON, like the API's own errors."},
            "content_type": _HEADER_VALUE | {"description": "The type of body; else text/plain."},
        },
        "code",
    ),
    "reset": _fault("reset", {}),
    "truncate": _fault("truncate", {}),
    "drop": _fault("drop", {}),
    "hang": _fault(
        "hang",
        {
            "seconds": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": _MOST,
                "description": "null: until it is healed.",
            }
        },
    ),
    "edit": _fault(
        "edit",
        {
            "fields": {"type": "object", "description": "What to put into the answer's JSON."},
            "remove": {"type": "array", "items": _TEXT, "description": "What to take out of it."},
        },
    ),
}
FAULT: Final[Schema] = {
    "oneOf": list(FAULTS.values()),
    "discriminator": {"propertyName": "kind"},
}

HEAL: Final[Schema] = _fields({"where": _WHERE})

REVOKE: Final[Schema] = _fields(
    {"tokens": {"type": "string", "enum": ["jwts", "refresh_tokens", "all"]}}
)

EXPIRE: Final[Schema] = _fields(
    {"seconds": _seconds("Seconds that the JWTs issued so far live on at most.", low=0)}
)
