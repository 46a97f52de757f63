"""
A Celery worker as a program: `python -m benchmarks.celery_app`.

The first line of JSON on stdin is its environment, in which `POOL` is the kind of pool; it ends with stdin. A task sends one request: over
`SyncTaxizerClient`, or over a plain `httpx.Client` that has a token already. Each process has one client of a kind.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import ssl
import sys
import threading
import time

from typing import Any

import httpx

from celery import Celery

from benchmarks.contenders import BODY, JSON, PATH
from taxizer_async import SyncTaxizerClient
from taxizer_async.stores.redis import RedisTokenStore


app: Any = Celery("benchmarks")
#: How often this process has read a CA bundle.
_loaded: list[float] = []
_load = ssl.SSLContext.load_verify_locations


@functools.cache
def taxizer() -> SyncTaxizerClient:
    """Return the client of this process, as the documentation has it."""
    return SyncTaxizerClient.from_env(store=RedisTokenStore.from_url(os.environ["REDIS_URL"]))


@functools.cache
def plain(header: str) -> httpx.Client:
    """Return the other client of this process."""
    return httpx.Client(base_url=os.environ["TAXIZER_BASE_URL"], headers={"Authorization": header})


@app.task(name="send")  # type: ignore[untyped-decorator]
def send(header: str | None) -> dict[str, float]:
    """Send one request; return what it took, and how many CA bundles were read for it."""
    loaded, began = len(_loaded), time.monotonic()
    client = taxizer() if header is None else plain(header)
    client.post(PATH, content=BODY, headers=JSON).raise_for_status()
    return {
        "process": os.getpid(),
        "began": began,
        "seconds": time.monotonic() - began,
        "loads": len(_loaded) - loaded,
    }


def main() -> None:
    """Run the worker."""
    ssl.SSLContext.load_verify_locations = _counted  # type: ignore[assignment,method-assign]
    os.environ.update(json.loads(sys.stdin.readline()))
    url = os.environ["REDIS_URL"]
    app.conf.update(broker_url=url, result_backend=url, worker_prefetch_multiplier=1)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=error"]
    pool = os.environ.get("POOL", "prefork")
    app.worker_main(
        ["--quiet", "worker", f"--pool={pool}", "--concurrency=4", "-O", "fair", *quiet]
    )


def _counted(context: ssl.SSLContext, *args: Any, **options: Any) -> None:
    _loaded.append(time.monotonic())
    _load(context, *args, **options)


def _end_with_stdin() -> None:
    # Not of `sys.stdin`, whose lock a forked child would find taken.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
