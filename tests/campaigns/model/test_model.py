"""Random walks through the life of a token; all checks run after each step."""

from __future__ import annotations

import pytest

from tests.campaigns.model.simulator import EPISODE, Simulation, run_many


#: Seeds that once broke a check.
REGRESSIONS = [
    # A refresh went on after forget() and recorded a failure, which callers got.
    *(148, 312, 589, 2898),
    # It asked Connect.
    *(4, 31, 45),
    # It put the forgotten token back when it noted that its refresh token was not spent after all.
    *(1660, 3705),
    # A back-off was so short that rounding lost it when it was added to the time: keep_fresh spun.
    16550,
    # A refresh that had waited for another, which failed in the end, asked again at once.
    2234,
    # A refresh whose token was forgotten while it asked for the lease recorded a failure.
    50436,
    # A renewal was left to others until a moment that had passed by a rounding error: keep_fresh span.
    50347,
    # Ahead of need a refresh went on to wait for a lease, because the store could no longer tell that it was taken.
    941047,
    # The check held a mistake of the user's to the Retry-After of the failure before it.
    950840,
    # The model's store did not count an answer that came late as none, as the process does.
    *(963193, 971639),
    # The check counted a token that was refused at the moment when it came as one that a caller could use.
    995586,
    # A refusal was taken for one that nobody remembers for so long, by a rounding error.
    226,
    # A refresh waited for the lease though the refused token had turned out good, and the store could not tell.
    1946,
]


@pytest.mark.parametrize("block", range(8))
async def test_all_checks_hold_at_every_step(block: int) -> None:
    """In any order of events no check fails, and in the end all recovers."""
    episodes = 20
    assert await run_many(1 + block * episodes, episodes * EPISODE) == episodes * EPISODE


@pytest.mark.parametrize("seed", REGRESSIONS)
async def test_what_was_found_stays_mended(seed: int) -> None:
    """A seed that once broke a check breaks none now."""
    await Simulation(seed).run()


async def test_a_seed_is_one_history() -> None:
    """Two runs of one seed have the same trace, so that a failure can be repeated."""
    first, second = Simulation(7), Simulation(7)
    await first.run()
    await second.run()

    assert len(first.world.trace) > EPISODE
    assert first.world.trace == second.world.trace
