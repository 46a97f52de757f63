"""How often a token is renewed over many lives, with the server's part played by arithmetic."""

from __future__ import annotations

import random

import pytest

from taxizer_async import Credentials, MemoryTokenStore, Secret
from taxizer_async._core.exchange import Issued, RetryBudget
from taxizer_async._token.provider import TokenProvider
from taxizer_async.testing import ManualClock
from tests.support.refreshes import settle
from tests.support.tokens import make_issued, make_provider, make_token


class Issuer:
    """Issues tokens of a given life; each takes a given time."""

    def __init__(self, clock: ManualClock, *, lifetime: float, latency: float) -> None:
        self._clock = clock
        self.lifetime = lifetime
        self._latency = latency
        self.issued: list[float] = []

    async def connect(self, _: Credentials, _budget: RetryBudget, /) -> Issued:
        return self._issue()

    async def refresh(self, _: Secret, _budget: RetryBudget, /) -> Issued:
        return self._issue()

    def _issue(self) -> Issued:
        requested_at = self._clock.monotonic()
        self.issued.append(requested_at)
        self._clock.advance(self._latency)
        return make_issued(
            token=make_token(str(len(self.issued))),
            lifetime=self.lifetime,
            refresh_lifetime=None,
            requested_at=requested_at,
            elapsed=self._latency,
        )


def provider_of(issuer: Issuer, clock: ManualClock) -> TokenProvider:
    jitter = random.Random(0).random  # noqa: S311 - jitter
    return make_provider(issuer, MemoryTokenStore(clock=clock), clock, jitter)


@pytest.mark.invariant(7)
@pytest.mark.report(51)
@pytest.mark.parametrize("latency", [0.0, 0.02, 0.3], ids=lambda share: f"{share} of a life")
@pytest.mark.parametrize("lifetime", [1.0, 10.0, 60.0, 900.0, 86_400.0])
async def test_two_exchanges_per_life_at_most(lifetime: float, latency: float) -> None:
    """Over twenty lives of any length there are at most two exchanges per life."""
    clock = ManualClock()
    issuer = Issuer(clock, lifetime=lifetime, latency=latency * lifetime)
    provider = provider_of(issuer, clock)
    began = clock.monotonic()
    while clock.monotonic() - began < 20 * lifetime:
        cached = provider.cache.fresh() or await provider.acquire()
        assert cached.remaining(clock) > 0
        await settle(provider)
        clock.advance(lifetime / 97)

    lives = (clock.monotonic() - began) / lifetime
    assert lives - 1 <= len(issuer.issued) <= 2 * lives


@pytest.mark.report(52)
async def test_lives_that_get_shorter_are_noticed() -> None:
    """When the server shortens lives from 15 min to 10 s, there are still two exchanges per life."""
    clock = ManualClock()
    issuer = Issuer(clock, lifetime=900.0, latency=0.1)
    provider = provider_of(issuer, clock)
    await provider.acquire()
    issuer.lifetime = 10.0
    clock.advance(890)
    issuer.issued.clear()
    for _ in range(1_000):
        cached = provider.cache.fresh() or await provider.acquire()
        assert cached.remaining(clock) > 0
        await settle(provider)
        clock.advance(0.1)

    assert 10 <= len(issuer.issued) <= 20
