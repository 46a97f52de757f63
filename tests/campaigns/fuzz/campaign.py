"""Feeds a target many inputs, sees that no rule is broken, and counts what came of them."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

import anyio
import attrs

from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.verdict import BrokenError, shows_canary


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.campaigns.fuzz.target import Feed, Target
    from tests.campaigns.fuzz.verdict import Verdict


#: Seconds that one input may take: less than an attempt may by default, and no input here needs one.
DEADLINE: Final = 30.0
#: Of an input, so much is printed: it can be had again from its number.
_SHOWN: Final = 4_000


@final
class Tally:
    """
    What came of a target's inputs.

    Attributes:
        inputs: How many were fed.
        deep: How many of them got past the first check.
        kinds: What came of them.
        slowest: Seconds that the slowest took.
    """

    def __init__(self) -> None:
        self.inputs = 0
        self.deep = 0
        self.kinds: Counter[str] = Counter()
        self.slowest = 0.0

    def add(self, verdict: Verdict, seconds: float) -> None:
        """Count one more."""
        self.inputs += 1
        self.deep += verdict.deep
        self.kinds[verdict.kind] += 1
        self.slowest = max(self.slowest, seconds)


@attrs.frozen
class Culprit:
    """An input, and how to have it again."""

    target: str
    backend: str
    seed: int
    number: int
    given: object

    def __str__(self) -> str:
        shown = repr(self.given)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(shown):,} characters)"
        return (
            f"input {self.number:,} of {self.target}, seed {self.seed}: {shown}\n"
            f"again: python -m tests.campaigns.fuzz.run --seed {self.seed} --target {self.target} "
            f"--backend {self.backend} --only {self.number}"
        )


class Watch(logging.Handler):
    """
    Hears of what is not raised: logs with a secret, tasks, threads and finalizers that failed.

    Attributes:
        heard: What should not be, since it was last looked at.
        now: The input at hand, and since when (`time.monotonic`).
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []
        self.now: tuple[float, Culprit] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name != "taxizer_async":
            self.heard.append(f"{record.name} logged {text!r}")
        elif shows_canary(text, record.args):
            self.heard.append(f"the log shows a secret: {text!r}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen everywhere."""
        ours, loops = logging.getLogger("taxizer_async"), logging.getLogger("asyncio")
        level, hooks = ours.level, (sys.unraisablehook, threading.excepthook)
        ours.setLevel(logging.DEBUG)
        ours.addHandler(self)
        loops.addHandler(self)
        sys.unraisablehook = self._hear_unraisable
        threading.excepthook = self._hear_thread
        try:
            yield
        finally:
            sys.unraisablehook, threading.excepthook = hooks
            loops.removeHandler(self)
            ours.removeHandler(self)
            ours.setLevel(level)

    def _hear_unraisable(self, args: sys.UnraisableHookArgs) -> None:
        self.heard.append(f"{args.exc_value!r} in {args.object!r}")

    def _hear_thread(self, args: threading.ExceptHookArgs) -> None:
        self.heard.append(f"{args.exc_value!r} in a thread")


@attrs.frozen
class Campaign:
    """
    A run over targets.

    Attributes:
        seed: What all inputs are drawn from.
        backend: The event loop's name.
        watch: Hears of what is not raised.
    """

    seed: int
    backend: str
    watch: Watch = attrs.field(factory=Watch)

    def draw(self, target: Target, number: int) -> Any:
        """Return the input of that *number*."""
        return target.draw(Draw(f"{self.seed}/{target.name}/{number}"))

    async def run(self, target: Target, numbers: range) -> Tally:
        """
        Feed *target* the inputs of those *numbers*.

        Raises:
            BrokenError: At the first that breaks a rule.
        """
        tally = Tally()
        with self.watch.listening(), target.start() as feed:
            for number in numbers:
                await self._feed(target, feed, number, tally)
            # What is left behind speaks up when it is collected.
            gc.collect()
            self._see_that_all_is_quiet()
        return tally

    async def _feed(self, target: Target, feed: Feed, number: int, tally: Tally) -> None:
        given = self.draw(target, number)
        culprit = Culprit(target.name, self.backend, self.seed, number, given)
        began = time.monotonic()
        self.watch.now = began, culprit
        try:
            with anyio.move_on_after(DEADLINE) as scope:
                verdict = await feed(given)
            took = time.monotonic() - began
            if scope.cancelled_caught or took > DEADLINE:
                msg = f"an input is dealt with in {DEADLINE:g} s, and not in {took:.1f} s"
                raise BrokenError(msg)  # noqa: TRY301 - told with the input
            self._see_that_all_is_quiet()
        except Exception as error:
            msg = f"{type(error).__name__}: {error}\n{culprit}"
            raise BrokenError(msg) from error
        finally:
            self.watch.now = None
        tally.add(verdict, took)

    def _see_that_all_is_quiet(self) -> None:
        if self.watch.heard:
            raise BrokenError("; ".join(self.watch.heard))
