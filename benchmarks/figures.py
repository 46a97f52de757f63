"""Arithmetic on figures: medians, spreads, percentiles, ratios."""

from __future__ import annotations

import math
import statistics

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def _as_tuple(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class Sample:
    """
    A value per round, in the order of the rounds.

    Raises:
        ValueError: If there is no value.
    """

    values: tuple[float, ...] = attrs.field(converter=_as_tuple)

    def __attrs_post_init__(self) -> None:
        """Check that there is a value."""
        if not self.values:
            msg = "a sample has at least one value"
            raise ValueError(msg)

    @property
    def median(self) -> float:
        """The middle of the values."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The largest value."""
        return max(self.values)

    def over(self, other: Sample) -> Sample:
        """
        Return the ratio to *other* round by round, so that a drift of the machine cancels.

        Raises:
            ValueError: If *other* has another number of rounds.
        """
        pairs = zip(self.values, other.values, strict=True)
        return Sample(tuple(own / floor for own, floor in pairs))

    def minus(self, other: Sample) -> Sample:
        """Return the difference to *other* round by round; see `over`."""
        return Sample(
            tuple(own - less for own, less in zip(self.values, other.values, strict=True))
        )

    def scaled(self, factor: float) -> Sample:
        """Return each value times *factor*."""
        return Sample(tuple(value * factor for value in self.values))


def percentile(values: Sequence[float], share: float) -> float:
    """
    Return the smallest value that at least *share* (0 to 1) of *values* do not exceed.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        msg = "no values, no percentile"
        raise ValueError(msg)
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def cumulative(values: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the cumulative distribution: each value in order, and the share up to it."""
    ordered = tuple(sorted(values))
    return ordered, tuple((rank + 1) / len(ordered) for rank in range(len(ordered)))


def rotated(names: Sequence[str], round_number: int) -> list[str]:
    """Return *names* in the order of a round: each round starts with another name."""
    start = round_number % len(names)
    return [*names[start:], *names[:start]]


def samples(rounds: Sequence[Mapping[str, float]]) -> dict[str, Sample]:
    """Turn a mapping per round into a sample per name."""
    return {name: Sample(tuple(one[name] for one in rounds)) for name in rounds[0]}
