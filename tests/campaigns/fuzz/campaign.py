"""Feeds a target many inputs, checks that no rule is broken, and counts the outcomes."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, TypeAlias

import anyio
import attrs

from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.verdict import BrokenError, shows_canary


#: Seconds that one input may take: less than an attempt may by default, and no input here needs one.
DEADLINE: Final = 30.0
#: Characters of an input that are printed; the rest can be had again from its number.
_SHOWN: Final = 4_000

#: Gives one input to the package, and returns its outcome: the class of a result or of a typed error.
Feed: TypeAlias = Callable[[Any], Awaitable[str]]


@attrs.frozen(eq=False)
class Target:
    """
    One way in for what comes from outside.

    Attributes:
        name: What it is called.
        share: The part of all inputs that goes there.
        draw: Makes an input.
        start: Sets up what the inputs are given to.
        kinds: Outcomes that must be among those of a few hundred inputs.
        on_loop: Whether the event loop matters, so that it runs on each.
    """

    name: str
    share: float
    draw: Callable[[Draw], Any]
    start: Callable[[], AbstractContextManager[Feed]]
    kinds: AbstractSet[str]
    on_loop: bool = attrs.field(default=False, kw_only=True)


def always(feed: Feed) -> Callable[[], AbstractContextManager[Feed]]:
    """Return a `start` that has nothing to set up."""
    return lambda: nullcontext(feed)


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
    Hears of problems that are not raised: a secret in the log, a failed task, thread or finalizer.

    Attributes:
        heard: The problems so far.
        now: The input that is being fed, and since when (`time.monotonic`).
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
        watch: Hears of problems that are not raised.
    """

    seed: int
    backend: str
    watch: Watch = attrs.field(factory=Watch)

    def draw(self, target: Target, number: int) -> Any:
        """Return the input of that *number*."""
        return target.draw(Draw(f"{self.seed}/{target.name}/{number}"))

    async def run(self, target: Target, numbers: range) -> Counter[str]:
        """
        Feed *target* the inputs of those *numbers*, and count the outcomes.

        Raises:
            BrokenError: At the first that breaks a rule.
        """
        outcomes: Counter[str] = Counter()
        with self.watch.listening(), target.start() as feed:
            for number in numbers:
                outcomes[await self._feed(target, feed, number)] += 1
            # A leftover object complains when it is collected.
            gc.collect()
            self._check_that_all_is_quiet()
        return outcomes

    async def _feed(self, target: Target, feed: Feed, number: int) -> str:
        given = self.draw(target, number)
        culprit = Culprit(target.name, self.backend, self.seed, number, given)
        began = time.monotonic()
        self.watch.now = began, culprit
        try:
            with anyio.move_on_after(DEADLINE) as scope:
                outcome = await feed(given)
            took = time.monotonic() - began
            if scope.cancelled_caught or took > DEADLINE:
                raise BrokenError(  # noqa: TRY301 - raised again with the input
                    f"an input is dealt with in {DEADLINE:g} s, and not in {took:.1f} s"
                )
            self._check_that_all_is_quiet()
        except Exception as error:
            raise BrokenError(f"{type(error).__name__}: {error}\n{culprit}") from error
        finally:
            self.watch.now = None
        return outcome

    def _check_that_all_is_quiet(self) -> None:
        if self.watch.heard:
            raise BrokenError("; ".join(self.watch.heard))
