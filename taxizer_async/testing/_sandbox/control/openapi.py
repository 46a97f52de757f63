"""The OpenAPI description of the control interface."""

from __future__ import annotations

from typing import Final

from taxizer_async._version import __version__
from taxizer_async.testing._sandbox.control.operations import OPERATIONS


#: The paths of the reads.
OPENAPI: Final = "/_sandbox/openapi.json"
STATE: Final = "/_sandbox/state"
EVENTS: Final = "/_sandbox/events"


def describe() -> dict[str, object]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taxizer sandbox", "version": __version__},
        "paths": {o.path: {} for o in OPERATIONS},
    }
