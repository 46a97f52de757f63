"""
A worker process of the demo, as a program.

Each message is a line of JSON. The first line of stdin is the `WorkerConfig`, so that no argument shows its
secret; a second line starts the requests. The worker writes its counts to stdout, and its outcome at the end.
"""

from __future__ import annotations

import sys

from typing import TYPE_CHECKING, Final, TypeAlias, cast

import anyio
import attrs

from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from taxizer_async._cli.demo.load import Counts, LoadGenerator, Outcome, Workload
from taxizer_async._cli.store_config import StoreConfig, closing
from taxizer_async._core.models import Credentials
from taxizer_async._core.secret import Secret


if TYPE_CHECKING:
    from taxizer_async.stores import TokenStore


#: Seconds between two reports of the progress.
_REPORT_INTERVAL: Final = 0.02

Report: TypeAlias = Counts | Outcome

_JSON: Final = make_converter()
_JSON.register_unstructure_hook(Secret, Secret.reveal)
_JSON.register_structure_hook(Secret, lambda text, _: Secret(text))
configure_tagged_union(Report, _JSON)


@attrs.frozen(kw_only=True)
class WorkerConfig:
    """
    What a worker needs to know.

    Attributes:
        workload: What it sends.
        credentials: The credentials for the login.
        base_url: Where the requests go.
        store: Where the token is shared.
        backend: The event loop to run on.
    """

    workload: Workload
    credentials: Credentials
    base_url: str
    store: StoreConfig
    backend: str

    def encode(self) -> bytes:
        """Return the line that is sent to the worker."""
        return f"{_JSON.dumps(self)}\n".encode()


def decode_report(line: bytes) -> Report:
    """Read a line that a worker wrote."""
    # The annotations of cattrs know no unions.
    return _JSON.loads(line, cast("type[Report]", Report))


def main() -> None:
    """Read the config, and send the requests once told to start."""
    line = sys.stdin.readline()
    if not line:
        return
    config = _JSON.loads(line, WorkerConfig)
    store = config.store.create()
    load = LoadGenerator(config.workload, config.credentials, config.base_url, store)
    # Everything is imported: the clock may start.
    _send(load.counts)
    if sys.stdin.readline():
        anyio.run(_work, load, store, backend=config.backend)


async def _work(load: LoadGenerator, store: TokenStore) -> None:
    async with closing(store), anyio.create_task_group() as tasks:
        tasks.start_soon(_report_progress, load)
        (outcome,) = await load.run(lambda: None)
        _send(outcome)
        tasks.cancel_scope.cancel()


async def _report_progress(load: LoadGenerator) -> None:
    reported = Counts()
    while True:
        await anyio.sleep(_REPORT_INTERVAL)
        if load.counts != reported:
            reported = load.counts
            _send(reported)


def _send(report: Report) -> None:
    # A worker whose parent has died fails here, and so ends.
    sys.stdout.write(f"{_JSON.dumps(report, unstructure_as=Report)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
