"""
Which fault comes when, on which path.

A fault of Redis lasts for three tokens, and longer than a refresh may take. One of the token endpoints covers the
time in which a token is renewed ahead of need, and ends so long before the token that an attempt that was caught in
it is over, and its back-off, too. So a token can be had all the time, and no request may fail.
"""

from __future__ import annotations

import functools
import itertools

from typing import TYPE_CHECKING, Final

import attrs

from tests.campaigns.proxy.nginx import FAULTS


if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(kw_only=True)
class Slot:
    """
    One fault on one path.

    Attributes:
        path: "redis", "tokens" or "api".
        fault: Its kind.
        lifetime: Seconds that a token lives.
        age: How old the token is when the fault begins.
        lasts: Seconds that the fault lasts.
        calm: Seconds after it at least.
    """

    path: str
    fault: str
    lifetime: float
    age: float
    lasts: float
    calm: float

    @property
    def name(self) -> str:
        """What problems call it."""
        return f"{self.path}, {self.fault}"


_PATHS: Final = (
    functools.partial(Slot, path="redis", lifetime=12.0, age=7.0, lasts=35.0, calm=8.0),
    functools.partial(Slot, path="tokens", lifetime=68.0, age=48.0, lasts=10.0, calm=1.0),
    functools.partial(Slot, path="api", lifetime=68.0, age=0.0, lasts=10.0, calm=1.0),
)


def slots(only: str) -> Iterator[Slot]:
    """Return those that have *only* in their names, over and over."""
    every = [make(fault=fault) for fault in FAULTS for make in _PATHS]
    return itertools.cycle([each for each in every if only in each.name])
