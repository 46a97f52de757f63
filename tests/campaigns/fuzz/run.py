"""`python -m tests.campaigns.fuzz.run --inputs 200000 [--seed N]`: exits with 1 at the first broken rule."""

from __future__ import annotations

import argparse
import faulthandler
import functools
import math
import os
import random
import sys
import threading
import time
import traceback
import warnings

from typing import TYPE_CHECKING, Final

import anyio

from tests.campaigns.fuzz.campaign import DEADLINE, Campaign
from tests.campaigns.fuzz.table import draw_row, draw_total, head
from tests.campaigns.fuzz.targets import TARGETS
from tests.campaigns.fuzz.verdict import BrokenError


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.campaigns.fuzz.campaign import Tally
    from tests.campaigns.fuzz.target import Target


BACKENDS: Final = ("asyncio", "trio")
#: An input that blocks the event loop is told by a thread, after so many seconds …
_STUCK: Final = 4 * DEADLINE
#: … and a run that blocks all threads by the interpreter, after so many for each 1,000 inputs.
_PER_THOUSAND: Final = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, and tell."""
    wanted = _arguments().parse_args(arguments)
    _clean_environment()
    warnings.simplefilter("error")
    # httpx leaves it behind when a request is cancelled while it is sent.
    warnings.filterwarnings("ignore", "Async generator 'httpx._content", ResourceWarning)
    limit = _PER_THOUSAND * (10 + wanted.inputs / 1000)
    faulthandler.dump_traceback_later(limit, exit=True, file=sys.__stderr__ or sys.stderr)
    began = time.monotonic()
    _say(f"seed {wanted.seed}\n{head()}")
    tallies = []
    try:
        for target, backend, numbers in _plan(wanted):
            tallies.append(_run(Campaign(wanted.seed, backend), target, numbers))
    except BrokenError as broken:
        traceback.print_exception(broken.__cause__ or broken)
        _say(f"{draw_total(tallies)}\nBROKEN after that: {broken}")
        return 1
    finally:
        faulthandler.cancel_dump_traceback_later()
    _say(draw_total(tallies))
    inputs = sum(tally.inputs for tally in tallies)
    _say(
        f"clean: {inputs:,} inputs from seed {wanted.seed} in {time.monotonic() - began:.0f} s, "
        "0 untyped errors, 0 hangs"
    )
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Feed the package junk.")
    parser.add_argument("--inputs", type=int, default=200_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--backend", choices=[*BACKENDS, "both"], default="both")
    parser.add_argument("--target", choices=[target.name for target in TARGETS])
    parser.add_argument("--only", type=int, help="a single input of --target, by its number")
    return parser


def _plan(wanted: argparse.Namespace) -> Iterator[tuple[Target, str, range]]:
    """Divide the inputs among targets, and those that need it among event loops."""
    loops = BACKENDS if wanted.backend == "both" else (wanted.backend,)
    targets = [each for each in TARGETS if wanted.target in (None, each.name)]
    shares = sum(target.share for target in targets)
    for target in targets:
        count = math.ceil(round(wanted.inputs * target.share / shares, 6))
        if wanted.only is not None:
            yield target, loops[0], range(wanted.only, wanted.only + 1)
        elif not target.on_loop:
            yield target, loops[0], range(count)
        else:
            each = math.ceil(count / len(loops))
            for at, loop in enumerate(loops):
                yield target, loop, range(at * each, (at + 1) * each)


def _run(campaign: Campaign, target: Target, numbers: range) -> Tally:
    done = threading.Event()
    thread = threading.Thread(target=_watch_over, args=(campaign, done), daemon=True)
    thread.start()
    began = time.monotonic()
    try:
        run = functools.partial(campaign.run, target, numbers)
        tally = anyio.run(run, backend=campaign.backend)
    finally:
        done.set()
        thread.join()
    loop = campaign.backend if target.on_loop else "-"
    _say(draw_row(target.name, loop, time.monotonic() - began, tally))
    return tally


def _watch_over(campaign: Campaign, done: threading.Event) -> None:
    """End the process if an input blocks the event loop, so that no deadline can."""
    while not done.wait(1):
        now = campaign.watch.now
        if now is not None and time.monotonic() - now[0] > _STUCK:
            faulthandler.dump_traceback()
            _say(f"BROKEN: the event loop is blocked by {now[1]}")
            os._exit(1)


def _clean_environment() -> None:
    for name in list(os.environ):
        if name.startswith("TAXIZER_") or name.lower().endswith("_proxy"):
            del os.environ[name]


def _say(text: str) -> None:
    print(text.encode("utf-8", "backslashreplace").decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
