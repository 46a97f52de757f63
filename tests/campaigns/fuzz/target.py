"""What a target is: one way in for what comes from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import attrs

from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.verdict import Verdict


#: Gives one input to the package.
Feed: TypeAlias = Callable[[Any], Awaitable[Verdict]]


@attrs.frozen(kw_only=True, eq=False)
class Target:
    """
    One way in.

    Attributes:
        name: What it is called.
        share: The part of all inputs that goes there.
        draw: Makes an input.
        start: Sets up what the inputs are given to.
        on_loop: Whether the event loop matters, so that it runs on each.
        deep: The least share of inputs that must get past the first check.
        kinds: Outcomes that must be among those of a few hundred inputs.
    """

    name: str
    share: float
    draw: Callable[[Draw], Any]
    start: Callable[[], AbstractContextManager[Feed]]
    on_loop: bool = False
    deep: float
    kinds: AbstractSet[str]


def always(feed: Feed) -> Callable[[], AbstractContextManager[Feed]]:
    """Return a `start` that has nothing to set up."""
    return lambda: nullcontext(feed)
