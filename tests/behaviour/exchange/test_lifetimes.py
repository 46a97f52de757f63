"""Lifetimes are durations by the server's clock, even if ours is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from taxizer_async._core.clock import SystemClock
from taxizer_async._core.exchange import Issued
from taxizer_async.testing import Fault, Sandbox
from tests.support.raw_server import Serve, answer
from tests.support.token_calls import Asker


DAY = 86400.0


@pytest.mark.invariant(11)
@pytest.mark.report(55, 56)
@pytest.mark.parametrize("ours", [-DAY, -3600.0, 0.0, 3600.0, DAY])
@pytest.mark.parametrize("theirs", [-DAY, 0.0, DAY])
async def test_a_wrong_clock_on_either_side_changes_no_lifetime(
    sandbox: Sandbox, ours: float, theirs: float
) -> None:
    """A token of 900 s lasts 900 s even if either clock is a day off."""
    sandbox.clock_offset = theirs
    outcome = await Asker(sandbox.base_url, ahead=ours).connect()

    assert isinstance(outcome, Issued)
    assert outcome.lifetime == pytest.approx(900, abs=1.5)
    assert outcome.refresh_lifetime == pytest.approx(86400, abs=1.5)


@pytest.mark.invariant(11)
async def test_a_date_close_to_our_time_does_not_cost_its_missing_fraction(
    sandbox: Sandbox,
) -> None:
    """A Date that agrees with our clock is not used, as it only has whole seconds."""
    before = SystemClock.wall()
    outcome = await Asker(sandbox.base_url).connect()

    assert isinstance(outcome, Issued)
    assert outcome.token.expires_at is not None
    assert outcome.lifetime is not None
    sent_at = outcome.token.expires_at.timestamp() - outcome.lifetime
    assert before - 0.001 <= sent_at <= before + outcome.elapsed + 0.1


async def test_an_unset_date_ends_a_jwt_but_not_its_refresh_token(
    sandbox: Sandbox, asker: Asker
) -> None:
    """Year 1 means expired for the JWT, and unknown for the refresh token."""
    unset = "0001-01-01T00:00:00"
    edit = {"jwtTokenExpireAtUTC": unset, "refreshTokenExpireAtUTC": unset}
    sandbox.fail("connect", Fault.edit(**edit))
    outcome = await asker.connect()

    assert isinstance(outcome, Issued)
    assert outcome.lifetime is not None
    assert outcome.lifetime < 0
    assert outcome.refresh_lifetime is None


async def test_elapsed_counts_all_attempts(sandbox: Sandbox) -> None:
    """The elapsed time includes failed attempts; a lifetime begins at the last attempt."""
    sandbox.fail("connect", Fault.hang(), times=1)
    asker = Asker(sandbox.base_url, attempt_timeout=1.0)
    began = SystemClock.monotonic()
    outcome = await asker.connect()

    assert isinstance(outcome, Issued)
    assert outcome.elapsed >= 1.0
    assert outcome.requested_at >= began + 1.0


async def test_retries_count_from_the_servers_time(serve: Serve) -> None:
    """The Date of a slow answer is still within the time of the request."""
    now = SystemClock.wall()
    moment = datetime.fromtimestamp(now + 600, UTC).isoformat()
    body = f'{{"jwtToken": "j", "jwtTokenExpireAtUTC": "{moment}"}}'.encode()
    server = serve((answer(body, f"Date: {formatdate(now + 50, usegmt=True)}"),))
    outcome = await Asker(server.base_url).connect()

    assert isinstance(outcome, Issued)
    assert outcome.lifetime == pytest.approx(550, abs=1)
