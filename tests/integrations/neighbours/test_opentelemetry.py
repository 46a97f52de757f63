"""`opentelemetry-instrument`, with what it has for httpx, redis, asyncio and logging."""

from __future__ import annotations

import json
import sys

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from taxizer_async.testing import Sandbox
from tests.integrations.python.life import EXPECTED
from tests.integrations.python.running import costs_of, run_life
from tests.support.canaries import SECRET, canaries_of


if TYPE_CHECKING:
    from collections.abc import Iterator


AGENT: Final = (
    *(
        str(Path(sys.executable).with_name("opentelemetry-instrument")),
        "--traces_exporter",
        "console",
    ),
    *("--metrics_exporter", "none", "--logs_exporter", "console"),
)
SETTINGS: Final = {
    "OTEL_PYTHON_LOG_CORRELATION": "true",
    "OTEL_PYTHON_LOG_LEVEL": "debug",
    "OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE": "live,send",
    "OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED": "true",
    # As the documentation has it.
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": ".*",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "authorization",
}


def spans_in(said: str) -> Iterator[dict[str, Any]]:
    at, decoder = 0, json.JSONDecoder()
    while (at := said.find('{\n    "name"', at)) >= 0:
        span, at = decoder.raw_decode(said, at)
        yield span


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_life_costs_the_same_and_shows_no_secret(redis_url: str, backend: str) -> None:
    """Logins are traces of their own, all is recorded, and no secret is in it."""
    where = {"REDIS_URL": redis_url} if backend == "asyncio" else {}
    with Sandbox(client_secret=SECRET) as sandbox:
        program = run_life(sandbox, beneath=AGENT, BACKEND=backend, **SETTINGS, **where)
        canaries = canaries_of(sandbox)

    assert costs_of(program) == EXPECTED
    assert not [each for each in canaries if each in program.stdout + program.stderr]
    spans = list(spans_in(program.stdout))
    logins = [span for span in spans if "/v1/Auth/" in str(span["attributes"])]
    assert {span["parent_id"] for span in logins} == {None}
    assert len(logins) >= 5
    assert bool(where) == any(span["name"] == "EVAL" for span in spans)
