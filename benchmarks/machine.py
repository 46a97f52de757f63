"""What the figures were measured on: processor, system, versions; nothing that names a person or a host."""

from __future__ import annotations

import os
import platform

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final


_LIBRARIES: Final = (
    "taxizer-async",
    "httpx",
    "httpx2",
    "aiohttp",
    "requests",
    "anyio",
    "trio",
    "uvloop",
    "authlib",
    "httpx-auth",
    "azure-core",
    "google-auth",
    "redis",
)


def facts(seconds: float, rounds: str) -> dict[str, str]:
    """Return the facts about the machine, and about a run that took *seconds*."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        "rounds": rounds,
        "took": f"{seconds / 60:.0f} min",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
