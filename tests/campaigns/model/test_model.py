"""The state machine of the token, walked at random: thousands of steps, each followed by all checks."""

from __future__ import annotations

import pytest

from tests.campaigns.model.simulator import EPISODE, Simulation, run_many


#: What once broke a check; each is to stay clean.
REGRESSIONS = [
    # A refresh whose token was forgotten meanwhile recorded a failure, which callers got.
    *(148, 312, 589, 2898),
    # It asked Connect.
    *(4, 31, 45),
    # It put back what was forgotten, as it noted that its refresh token was not spent after all.
    *(1660, 3705),
    # A back-off was so short that adding it to the time was lost in the rounding: keep_fresh span.
    16550,
    # A refresh that had waited for one that failed at last asked again at once.
    2234,
]


@pytest.mark.parametrize("block", range(8))
async def test_all_checks_hold_at_every_step(block: int) -> None:
    """Whatever happens in whatever order, no check fails, and all recovers in the end."""
    episodes = 20
    assert await run_many(1 + block * episodes, episodes * EPISODE) == episodes * EPISODE


@pytest.mark.parametrize("seed", REGRESSIONS)
async def test_what_was_found_stays_mended(seed: int) -> None:
    """A seed that once broke a check is clean."""
    await Simulation(seed).run()


async def test_a_seed_is_one_history() -> None:
    """Two runs of one seed have the same trace, so that a failure can be seen again."""
    first, second = Simulation(7), Simulation(7)
    await first.run()
    await second.run()

    assert len(first.world.trace) > EPISODE
    assert first.world.trace == second.world.trace
