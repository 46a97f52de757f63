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

from collections.abc import Iterator
from typing import Final

import anyio

from tests.campaigns.fuzz.arguments import ARGUMENTS
from tests.campaigns.fuzz.auth import AUTH
from tests.campaigns.fuzz.campaign import DEADLINE, Campaign, Target
from tests.campaigns.fuzz.codec import CODEC
from tests.campaigns.fuzz.environment import ENVIRONMENT
from tests.campaigns.fuzz.exchange import EXCHANGE
from tests.campaigns.fuzz.urls import URLS
from tests.campaigns.fuzz.verdict import BrokenError


TARGETS: Final = (*CODEC, *URLS, *ARGUMENTS, *ENVIRONMENT, *EXCHANGE, *AUTH)
BACKENDS: Final = ("asyncio", "trio")
#: Seconds after which a thread names an input that blocks the event loop …
_STUCK: Final = 4 * DEADLINE
#: … and, for each 1,000 inputs, those after which the interpreter ends a run that blocks all threads.
_PER_THOUSAND: Final = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, and print what came of it."""
    wanted = _arguments().parse_args(arguments)
    _clean_environment()
    warnings.simplefilter("error")
    # httpx leaves this generator behind when a request is cancelled while it is sent.
    warnings.filterwarnings("ignore", "Async generator 'httpx._content", ResourceWarning)
    limit = _PER_THOUSAND * (10 + wanted.inputs / 1000)
    faulthandler.dump_traceback_later(limit, exit=True, file=sys.__stderr__ or sys.stderr)
    began = time.monotonic()
    _say(f"seed {wanted.seed}")
    inputs = 0
    try:
        for target, backend, numbers in _plan(wanted):
            inputs += _run(Campaign(wanted.seed, backend), target, numbers)
    except BrokenError as broken:
        traceback.print_exception(broken.__cause__ or broken)
        _say(f"BROKEN after {inputs:,} inputs: {broken}")
        return 1
    finally:
        faulthandler.cancel_dump_traceback_later()
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
    """Divide the inputs among targets, and those of a target that needs it among event loops."""
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


def _run(campaign: Campaign, target: Target, numbers: range) -> int:
    """Run a target, print its outcomes, and return the number of inputs."""
    done = threading.Event()
    thread = threading.Thread(target=_watch_over, args=(campaign, done), daemon=True)
    thread.start()
    began = time.monotonic()
    try:
        run = functools.partial(campaign.run, target, numbers)
        outcomes = anyio.run(run, backend=campaign.backend)
    finally:
        done.set()
        thread.join()
    loop = campaign.backend if target.on_loop else "-"
    counts = " · ".join(f"{kind} {count:,}" for kind, count in outcomes.most_common())
    inputs, seconds = outcomes.total(), time.monotonic() - began
    _say(f"{target.name:12} {loop:8} {inputs:8,} in {seconds:5.1f} s: {counts}")
    return inputs


def _watch_over(campaign: Campaign, done: threading.Event) -> None:
    """End the process if an input blocks the event loop, where no deadline helps."""
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
