"""
A worker process of the demo, as a program; its argument is the event loop to run on.

Each message is a line of JSON. The first line of stdin is its `Workload`, so that no argument shows its
secret; a second line starts the requests. The worker writes its `Counts` to stdout until all are done.
"""

from __future__ import annotations

import sys

from typing import Final

import anyio

from cattrs.preconf.json import make_converter

from taxizer_async._cli.demo.load import Counts, LoadGenerator, Workload
from taxizer_async._core.secret import Secret


#: Seconds between two messages.
_INTERVAL: Final = 0.02

_JSON: Final = make_converter()
_JSON.register_unstructure_hook(Secret, Secret.reveal)
_JSON.register_structure_hook(Secret, lambda text, _: Secret(text))


def encode_workload(workload: Workload) -> bytes:
    """Return the first line for a worker."""
    return f"{_JSON.dumps(workload)}\n".encode()


def decode_counts(line: bytes) -> Counts:
    """Read a line that a worker wrote."""
    return _JSON.loads(line, Counts)


def main(backend: str) -> None:
    """Read the workload, and send the requests once told to start."""
    line = sys.stdin.readline()
    if not line:
        return
    load = LoadGenerator(_JSON.loads(line, Workload))
    # Everything is imported: the clock may start.
    _write(load.counts)
    if sys.stdin.readline():
        anyio.run(_work, load, backend=backend)


async def _work(load: LoadGenerator) -> None:
    counts = Counts()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        while not counts.latencies:
            await anyio.sleep(_INTERVAL)
            counts = load.counts
            _write(counts)


def _write(counts: Counts) -> None:
    # If the parent has died this fails, and the worker ends.
    sys.stdout.write(f"{_JSON.dumps(counts)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
