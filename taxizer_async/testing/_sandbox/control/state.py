"""A sandbox at one moment, as JSON."""

from __future__ import annotations

import collections
import time

from typing import Final

import attrs

from taxizer_async._version import __version__
from taxizer_async.testing._sandbox.control.bodies import SETTINGS
from taxizer_async.testing._sandbox.faults import Fault
from taxizer_async.testing._sandbox.parts import Parts
from taxizer_async.testing._sandbox.recorder import SandboxCounters


#: The most paths that are told of, the most frequent first.
_PATHS: Final = 100


def read_state(parts: Parts) -> dict[str, object]:
    newest = parts.issuer.newest()
    return {
        "run": parts.events.run,
        "version": __version__,
        "at": round(time.time(), 3),
        "last_event_id": parts.events.last_id,
        "requests_per_second": parts.recorder.requests_per_second,
        "token": None if newest is None else attrs.asdict(newest),
        "counters": _count(parts.recorder.snapshot()),
        "settings": {name: getattr(parts.sandbox, name) for name in SETTINGS},
        "faults": [
            {"where": where, "times": times, **_describe(fault)}
            for where, fault, times in parts.fault_plan.planned()
        ],
    }


def _count(counters: SandboxCounters) -> dict[str, object]:
    names = [field.name for field in attrs.fields(SandboxCounters)]
    numbers: dict[str, object] = {name: getattr(counters, name) for name in [*names, "exchanges"]}
    paths = collections.Counter(counters.by_path).most_common(_PATHS)
    return numbers | {"by_path": dict(paths)}


def _describe(fault: Fault) -> dict[str, object]:
    if fault.kind == "answer":
        return {"kind": fault.kind, "code": fault.code, "headers": dict(fault.headers)}
    if fault.kind == "hang":
        return {"kind": fault.kind, "seconds": fault.seconds}
    if fault.kind == "edit":
        # Names only: a value may be a token.
        removed = [name for name, value in fault.fields if value is Fault.MISSING]
        edited = [name for name, value in fault.fields if value is not Fault.MISSING]
        return {"kind": fault.kind, "fields": edited, "remove": removed}
    return {"kind": fault.kind}
