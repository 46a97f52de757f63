"""Growth over a long run is told from what comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.campaigns.hour.course import FLAT, Sample, read, trends, written


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


LEVEL = 10_000
FLAT_SAMPLE = Sample(
    seconds=0.0,
    outage=0,
    served=0,
    cancelled=0,
    failed=0,
    kinds='{"HTTP 401, twice": 1}',
    loops=0,
    logins=0,
    refreshes=0,
    reuses=0,
    resident=LEVEL,
    private=LEVEL,
    files=10,
    threads=10,
    tasks_asyncio=10,
    tasks_trio=10,
    objects=LEVEL,
    blocks=LEVEL,
    processor=0.5,
)


def an_hour(change: Callable[[float], dict[str, Any]]) -> list[Sample]:
    moments = [30.0 * number for number in range(121)]
    return [attrs.evolve(FLAT_SAMPLE, seconds=each, **change(each)) for each in moments]


def grown(samples: list[Sample]) -> list[str]:
    return [trend.name for trend in trends(samples) if not trend.is_flat]


@pytest.mark.parametrize("name", FLAT)
def test_what_grows_is_reported(name: str) -> None:
    """A quantity that rises by more than 2 %, and by more than two things, is not flat; less is."""
    level = getattr(FLAT_SAMPLE, name)
    most = max(2, level // 50)

    assert grown(an_hour(lambda at: {name: level + (most + 1) * at / 3600})) == [name]
    assert grown(an_hour(lambda at: {name: level + (most - 1) * at / 3600})) == []


def test_a_rise_in_the_first_quarter_is_the_warm_up() -> None:
    """What grows in the first quarter only is flat."""
    assert grown(an_hour(lambda at: {"resident": LEVEL + min(at, 900.0)})) == []


@pytest.mark.parametrize("at", [1000.0, 1800.0, 2500.0])
@pytest.mark.parametrize("name", FLAT)
def test_one_step_is_no_growth_unless_it_is_high(name: str, at: float) -> None:
    """An allocator takes some megabytes at once; what stays far above its level is reported all the same."""
    level = getattr(FLAT_SAMPLE, name)
    most = max(2, level // 20)

    assert grown(an_hour(lambda now: {name: level + most * (now > at)})) == []
    assert grown(an_hour(lambda now: {name: level + (most + 1) * (now > at)})) == [name]


def test_step_upon_step_is_growth() -> None:
    """What rises by a little every five minutes is not flat."""
    assert grown(an_hour(lambda now: {"resident": LEVEL + 25 * (now // 300)})) == ["resident"]


def test_what_comes_with_an_outage_is_no_growth() -> None:
    """Callers that pile up in an outage late in the run are no growth."""

    def change(at: float) -> dict[str, Any]:
        is_late = at > 2000
        return {"outage": int(is_late and at % 100 < 50), "files": 100 if is_late else 10}

    def piled_up(at: float) -> dict[str, Any]:
        outage = at > 2000 and at % 100 < 50
        return {"outage": int(outage), "files": 100 if outage else 10}

    assert grown(an_hour(piled_up)) == []
    assert grown(an_hour(change)) == ["files"]


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A file of samples holds them all."""
    samples = an_hour(lambda at: {"served": int(at)})
    with written(tmp_path / "hour.csv") as write:
        for sample in samples:
            write(sample)

    assert read(tmp_path / "hour.csv") == samples
