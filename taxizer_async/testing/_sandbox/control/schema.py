"""The part of JSON Schema in which the bodies are described, and the check of a value against it."""

from __future__ import annotations

import json
import re

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast


Schema = Mapping[str, Any]

#: The types of JSON: what an error calls them, and what they are in Python.
_TYPES: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "object": ("an object", (dict,)),
    "array": ("an array", (list,)),
    "string": ("a string", (str,)),
    "number": ("a number", (int, float)),
    "integer": ("an integer", (int,)),
    "boolean": ("true or false", (bool,)),
    "null": ("null", (type(None),)),
}


def check(schema: Schema, value: Any, name: str = "the body") -> None:
    """
    Check *value*, which an error calls *name*.

    Raises:
        ValueError: If it is not as *schema* says.
    """
    schema = _choose(schema, value)
    if not _fits(schema, value):
        msg = f"{name} must be {_wanted(schema)}"
        raise ValueError(msg)
    if isinstance(value, dict):
        _check_object(schema, cast("Mapping[str, Any]", value), name)
    elif isinstance(value, list) and "items" in schema:
        for item in cast("Sequence[object]", value):
            check(schema["items"], item, f"each of {name}")


def _check_object(schema: Schema, value: Mapping[str, Any], name: str) -> None:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for field in schema.get("required", ()):
        if field not in value:
            msg = f"{name} lacks {field}"
            raise ValueError(msg)
    for field, content in value.items():
        if "propertyNames" in schema:
            check(schema["propertyNames"], field, f"each name in {name}")
        if field in properties:
            check(properties[field], content, field)
        elif others is False:
            known = ", ".join(properties) or "none"
            msg = f"{name} has an unknown field {json.dumps(field[:60])}; the fields are: {known}"
            raise ValueError(msg)
        elif others is not True:
            check(others, content, f"each of {name}")


def _choose(schema: Schema, value: Any) -> Schema:
    """Return the one of several schemas that *value* names by its discriminator."""
    if "oneOf" not in schema:
        return schema
    by = schema["discriminator"]["propertyName"]
    kind = cast("Mapping[str, Any]", value).get(by) if isinstance(value, dict) else None
    named: dict[str, Schema] = {each["properties"][by]["const"]: each for each in schema["oneOf"]}
    if isinstance(kind, str) and kind in named:
        return named[kind]
    return {
        "type": "object",
        "required": [by],
        "properties": {by: {"type": "string", "enum": list(named)}},
    }


def _fits(schema: Schema, value: Any) -> bool:
    types = _types(schema)
    if types and not any(_is(value, each) for each in types):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str) and "pattern" in schema:
        return re.fullmatch(schema["pattern"], value) is not None
    if _is(value, "number") and "minimum" in schema:
        return bool(schema["minimum"] <= value <= schema["maximum"])
    return True


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name][1])


def _types(schema: Schema) -> Sequence[str]:
    named: str | Sequence[str] = schema.get("type", ())
    return (named,) if isinstance(named, str) else named


def _wanted(schema: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(json.dumps, schema["enum"]))
    if "pattern" in schema and "description" in schema:
        return str(schema["description"])
    text = " or ".join(_TYPES[each][0] for each in _types(schema))
    if "minimum" in schema:
        text += f" from {schema['minimum']} to {schema['maximum']}"
    return text
