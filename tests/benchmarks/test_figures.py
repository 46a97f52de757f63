"""Medians, ratios and percentiles are what they are called."""

from __future__ import annotations

import pytest

from benchmarks.figures import Sample, cumulative, percentile, rotated, samples


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that became twice as slow in the middle changes no ratio."""
    floor = Sample((1.0, 1.0, 2.0, 2.0))
    own = Sample((1.5, 1.5, 3.0, 3.0))

    assert own.over(floor).values == (1.5, 1.5, 1.5, 1.5)
    assert own.minus(floor).values == (0.5, 0.5, 1.0, 1.0)


def test_rounds_that_do_not_match_are_not_put_together() -> None:
    """Figures of different rounds have no ratio."""
    with pytest.raises(ValueError, match="zip"):
        Sample((1.0,)).over(Sample((1.0, 2.0)))
    with pytest.raises(ValueError, match="zip"):
        Sample((1.0,)).minus(Sample((1.0, 2.0)))


def test_a_sample_has_a_middle_and_ends() -> None:
    """One outlier moves the range and not the median."""
    sample = Sample((3.0, 1.0, 100.0)).scaled(2)

    assert (sample.median, sample.least, sample.most) == (6.0, 2.0, 200.0)


def test_nothing_measured_is_no_sample() -> None:
    """A scenario without a contender is an error."""
    with pytest.raises(ValueError, match="at least one"):
        Sample(())
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    """Of a thousand, p99.9 is the second longest."""
    assert percentile(list(range(1000, 0, -1)), share) == expected


def test_a_distribution_ends_with_all() -> None:
    """Each value is a step."""
    assert cumulative([3, 1, 2, 2]) == ((1, 2, 2, 3), (0.25, 0.5, 0.75, 1.0))


def test_everybody_is_first_once() -> None:
    """What comes after a costly one is not always the same."""
    rounds = [rotated(["a", "b", "c"], number) for number in range(3)]

    assert [order[0] for order in rounds] == ["a", "b", "c"]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)


def test_rounds_become_samples() -> None:
    """The order of the rounds is kept, as ratios need it."""
    found = samples([{"a": 1.0, "b": 2.0}, {"b": 4.0, "a": 3.0}])

    assert {name: sample.values for name, sample in found.items()} == {
        "a": (1.0, 3.0),
        "b": (2.0, 4.0),
    }
