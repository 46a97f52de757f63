"""
All that a fleet has to outlive, in one table: `python -m tests.fleet.campaign [--seconds N] [--only WORD]`.

Fails if anything happened that must not. Workers have the time-outs that users have, not the longer ones of tests.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from taxizer_async.testing import Sandbox
from tests.fleet.cold import start_cold
from tests.fleet.faults import (
    FAULTS,
    fail_over,
    kill_in_cold_start,
    move_slots,
    part_clocks,
    run_fault,
)
from tests.fleet.fleet import WorkerConfig
from tests.fleet.load import run_load
from tests.support import families
from tests.support.redis_server import RedisServer


Trial = Callable[[Sandbox, Path], "Outcome"]


class Outcome(Protocol):
    """What a trial came to; `str` has its figures."""

    @property
    def problems(self) -> Sequence[str]:
        """What must not have happened."""
        ...


def trials(seconds: float) -> dict[str, Trial]:
    """Return all trials by name; a load lasts *seconds*."""
    found: dict[str, Trial] = {}
    for store in ("file", "redis"):
        found |= {
            f"cold start, {store}": _over(store, start_cold),
            f"load, {store}": _over(
                store, functools.partial(run_load, seconds=seconds, kills=False, seed=1)
            ),
            f"load with SIGKILLs, {store}": _over(
                store, functools.partial(run_load, seconds=seconds, kills=True, seed=1)
            ),
            f"clocks an hour apart, {store}": _over(
                store, functools.partial(part_clocks, offset=3600.0)
            ),
        }
    found["SIGKILL in mid-save, file"] = _kill_saves
    for fault in FAULTS:
        found[f"{fault}, redis"] = _with_server(
            functools.partial(run_fault, fault=fault, policy={})
        )
    return found | {
        "Sentinel fails over in mid-renewal": fail_over,
        "Sentinel fails over and loses a renewal": functools.partial(fail_over, loses=True),
        "cluster moves a slot in mid-renewal": move_slots,
        "Redis dies in a cold start": _with_server(
            functools.partial(kill_in_cold_start, comes_back=False)
        ),
        "Redis dies in a cold start and comes back": _with_server(
            functools.partial(kill_in_cold_start, comes_back=True)
        ),
    }


@attrs.frozen
class Done:
    """What a program said, and whether it failed."""

    told: str
    problems: Sequence[str]

    def __str__(self) -> str:
        """Return what it said."""
        return self.told


def _kill_saves(_: Sandbox, __: Path) -> Done:
    # In a process of its own, as this one has threads, which a fork does not copy.
    done = families.run([sys.executable, "-m", "tests.stores.kills"], limit=900.0)
    return Done(done.stdout.strip(), [done.stderr] if done.returncode else [])


def _over(store: str, trial: Callable[[Sandbox, WorkerConfig], Outcome]) -> Trial:
    def run(sandbox: Sandbox, folder: Path) -> Outcome:
        if store == "file":
            return trial(sandbox, WorkerConfig(store=("file", str(folder / "tokens")), policy={}))
        with RedisServer(folder) as server:
            return trial(sandbox, WorkerConfig(store=("redis", server.url), policy={}))

    return run


def _with_server(trial: Callable[[Sandbox, RedisServer], Outcome]) -> Trial:
    def run(sandbox: Sandbox, folder: Path) -> Outcome:
        with RedisServer(folder) as server:
            return trial(sandbox, server)

    return run


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--only", default="", help="trials whose names have this in them")
    wanted = parser.parse_args()
    chosen = {name: run for name, run in trials(wanted.seconds).items() if wanted.only in name}
    problems = 0
    for name, run in chosen.items():
        with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
            outcome = run(sandbox, Path(folder))
        print(f"{name:<42} {outcome}", *outcome.problems, sep="\n    ", flush=True)  # noqa: T201
        problems += len(outcome.problems)
    return bool(problems or not chosen)


if __name__ == "__main__":
    sys.exit(main())
