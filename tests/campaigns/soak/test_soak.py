"""A short soak: the rules are those of the long one, which `nox -s load` runs."""

from __future__ import annotations

import pytest

from tests.campaigns.soak.program import run_program


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nothing_is_lost_and_nothing_is_left_behind(backend: str) -> None:
    """Through faults at full speed no request fails that the policy could save, and nothing grows."""
    brief = ("--seconds", "3", "--workers", "10", "--seed", "1")

    told = run_program("tests.campaigns.soak.run", "--backend", backend, *brief)

    assert f"clean: seed 1 on {backend}" in told
