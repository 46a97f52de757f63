"""Waiting for the end of a refresh that no caller waits for."""

from __future__ import annotations

import anyio

from taxizer_async import TaxizerAuth, Token
from taxizer_async._core.event_loops import running_loop
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.single_flight import SharedRefresh
from tests.support.limits import HANG


async def settle(provider: TokenProvider) -> None:
    """Wait until no refresh is under way."""
    coordinator = provider._coordinator()
    with anyio.fail_after(HANG):
        while (refresh := coordinator._current) is not None:
            await refresh.wait(running_loop(), counts=False)


async def renew(auth: TaxizerAuth) -> Token:
    """Ask for a token, have the renewal that this may start end, and return the token then."""
    await auth.token()
    await settle(auth._bearer.provider)
    return await auth.token()


def cut_off(auth: TaxizerAuth) -> None:
    """End the refresh that is under way, as the end of its event loop does after the grace period."""
    refresh = _under_way(auth)
    assert refresh.task is not None
    refresh.task.cancel()


def backdate(auth: TaxizerAuth, seconds: float) -> None:
    """Have the refresh that is under way be so much older."""
    _under_way(auth).began -= seconds


def _under_way(auth: TaxizerAuth) -> SharedRefresh:
    refresh = auth._bearer.provider._coordinator()._current
    assert refresh is not None
    return refresh
