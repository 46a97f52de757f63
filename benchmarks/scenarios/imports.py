"""What importing costs, in fresh processes, interleaved."""

from __future__ import annotations

import os
import subprocess
import sys

from typing import TYPE_CHECKING, Final

from benchmarks.field import FLOOR, LOCK, OWN, PEERS
from benchmarks.figures import Sample, rotated
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, spread


if TYPE_CHECKING:
    from benchmarks.bench import Scale


_DEPENDENCIES: Final = "import httpx, attrs, cattrs, cattrs.gen, anyio, anyio.to_thread"
_OWN_PART: Final = "taxizer_async, after its dependencies"
_BASE: Final = "its dependencies: httpx, attrs, cattrs, anyio"
#: What is imported first, and what is measured.
_CASES: Final = {
    _OWN_PART: (_DEPENDENCIES, "import taxizer_async"),
    _BASE: ("pass", _DEPENDENCIES),
    "taxizer_async": ("pass", "import taxizer_async"),
    "httpx": ("pass", "import httpx"),
    "Authlib": ("pass", "from authlib.integrations.httpx_client import AsyncOAuth2Client"),
    "httpx-auth": ("pass", "from httpx_auth import OAuth2ClientCredentials"),
    "google-auth": (
        "pass",
        "import google.oauth2.credentials; from google.auth.aio.transport import sessions",
    ),
    "azure-core": (
        "pass",
        (
            "from azure.core import AsyncPipelineClient; "
            "from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy; "
            "from azure.core.pipeline.transport import AioHttpTransport"
        ),
    ),
}


def run(scale: Scale) -> Section:
    """Run the scenario."""
    rounds: list[dict[str, float]] = []
    for number in range(-1, scale.many):
        found = {name: _seconds(*_CASES[name]) for name in rotated(list(_CASES), number)}
        # The round before the first caches byte code, and fills the disk's caches.
        if number >= 0:
            rounds.append(found)
    figures = {name: Sample(tuple(one[name] for one in rounds)) for name in _CASES}
    rows = tuple((name, spread(one.scaled(1000), 0)) for name, one in figures.items())
    ratio = figures[_OWN_PART].over(figures[_BASE]).median
    return Section(
        name="import",
        title="Import",
        about="Each in fresh processes, with byte code cached.",
        tables=(Table("Milliseconds", ("what", "ms"), rows),),
        claims=(Claim("import beyond its dependencies, times these", ratio, 0.5),),
        summary=(
            Row(
                "import, ms",
                {
                    **{name: f"{one.scaled(1000).median:.0f}" for name, one in figures.items()},
                    OWN: f"{figures['taxizer_async'].scaled(1000).median:.0f}",
                    FLOOR: f"{figures['httpx'].scaled(1000).median:.0f}",
                    LOCK: f"{figures['httpx'].scaled(1000).median:.0f}",
                },
            ),
        ),
        remarks=(
            peers_ahead(
                figures,
                "taxizer_async",
                PEERS,
                "They bring less beside their HTTP library: no models of answers, no store, no events.",
            ),
        ),
    )


def _seconds(before: str, measured: str) -> float:
    code = (
        f"import time; {before}; began = time.perf_counter(); {measured}; "
        "print(time.perf_counter() - began)"
    )
    # Installers compile what they install; a checkout's modules are compiled by their first import.
    environment = {
        name: os.environ[name] for name in os.environ.keys() - {"PYTHONDONTWRITEBYTECODE"}
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    return float(done.stdout)
