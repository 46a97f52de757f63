"""The drawn showers and outages keep the promises of the weather."""

from __future__ import annotations

import itertools
import random

import pytest

from taxizer_async import CredentialsRejectedError
from tests.campaigns.soak.server import FAULTS
from tests.campaigns.soak.weather import (
    LIFETIME,
    LONGEST_BURST,
    POLICY,
    SHORTEST_EFFORT,
    Shower,
    draw_outages,
    draw_shower,
)


@pytest.fixture(name="showers", scope="module")
def _showers() -> list[Shower]:
    rng = random.Random(1)  # noqa: S311 - not for secrets
    return [draw_shower(rng) for _ in range(2_000)]


def test_a_burst_leaves_an_attempt_over(showers: list[Shower]) -> None:
    """A login's pauses for a burst take less than half of its time."""
    bursts = [step[3] for shower in showers for step in shower.steps if step[0] == "fail"]
    counted = [times for times in bursts if isinstance(times, int)]

    pauses = [POLICY.retry_wait(each, 0.0, None) for each in range(1, max(counted) + 1)]
    assert set(counted) == set(range(1, LONGEST_BURST + 1))
    assert sum(pauses) < POLICY.exchange_timeout / 2


def test_a_window_is_shorter_than_an_exchange(showers: list[Shower]) -> None:
    """All answers go wrong for less time than the pauses of one login add up to at least."""
    lasting = [
        seconds
        for shower in showers
        if any(step[0] == "fail" and step[3] is None for step in shower.steps)
        for name, seconds, *_ in (step for step in shower.steps if step[0] == "last")
    ]

    pauses = [POLICY.retry_wait(each, 1.0, None) for each in range(1, LONGEST_BURST + 1)]
    assert pytest.approx(sum(pauses)) == SHORTEST_EFFORT
    assert lasting
    assert all(isinstance(seconds, float) and seconds < SHORTEST_EFFORT for seconds in lasting)


def test_a_token_is_refused_once(showers: list[Shower]) -> None:
    """A revocation and a 401 for the replacement do not come together."""
    names = [shower.names for shower in showers]

    assert any("one 401" in each for each in names)
    assert any("revoke" in each for each in names)
    assert not any({"one 401", "revoke"} <= set(each) for each in names)


@pytest.mark.parametrize("brief", [False, True])
def test_an_outage_outlasts_the_token(*, brief: bool) -> None:
    """An outage lasts longer than a login tries, and longer than a token that it does not revoke."""
    outages = list(itertools.islice(draw_outages(random.Random(1), brief=brief), 200))  # noqa: S311

    tried_again = [each for each in outages if each.error is not CredentialsRejectedError]
    assert bool(tried_again) is not brief
    assert all(outage.seconds > POLICY.exchange_timeout for outage in tried_again)
    assert all(outage.seconds > 2 * SHORTEST_EFFORT for outage in outages)
    assert all(outage.revoked or outage.seconds > LIFETIME for outage in outages)
    assert {outage.kind for outage in outages} <= set(FAULTS)
    assert not brief or max(outage.seconds for outage in outages) < LIFETIME
