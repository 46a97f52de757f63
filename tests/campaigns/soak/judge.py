"""
What became of each request, and whether that was right.

No request may fail but in an outage: one that had begun before the outage was over, or while what was
remembered of it could still be served. It may then fail if the token that it began with has ended or
was revoked, and only with the error that is meant for that kind of outage, or as its time was over before
anything was asked, since others had the lease of the store. It names the endpoint and a time of the next try that is within the back-off.
Whoever fails otherwise could have been saved.

A request that is under way as tokens are revoked may be refused twice, if a renewal comes to its end
meanwhile: with the old token and with the new one, which was revoked, too. It is not sent a third time.

A shower that lasted longer than it was meant to, as the machine was busy, is an outage that nobody
ordered; requests that fail meanwhile are counted apart.
"""

from __future__ import annotations

import collections
import math
import time

from datetime import UTC, datetime
from typing import Final, final

import attrs

from taxizer_async import AuthError, TokenEndpointUnavailableError
from tests.campaigns.soak.weather import LONGEST_BACKOFF, Outage


#: Seconds that a busy loop may take to notice an answer.
SLACK: Final = 5.0
#: Seconds that no request takes, however long the outage.
STUCK_AFTER: Final = 60.0
#: Seconds from an order to revoke tokens until the sandbox's process has done so.
REVOKED_WITHIN: Final = 1.0
_EXAMPLES: Final = 10


@attrs.frozen(kw_only=True)
class Failed:
    """
    A request that failed.

    Attributes:
        who: Whose auth it was.
        began: When it was sent (`time.monotonic`).
        ended: When it failed.
        token_ends: When the token ends that there was as it began; long ago if there was none.
        error: What it failed with; its text for an answer.
    """

    who: str
    began: float
    ended: float
    token_ends: float
    error: Exception | str

    @property
    def name(self) -> str:
        """The class of failure."""
        return self.error if isinstance(self.error, str) else type(self.error).__name__


@attrs.define
class _Spell:
    """An outage, from when to when."""

    outage: Outage
    began: float
    ended: float = math.inf


@final
class Judge:
    """Counts requests, and notes those that failed but could have been saved."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.violations: list[str] = []
        self.violated = 0
        self.longest = 0.0
        #: Whether somebody was never served again, so that there is no point in going on.
        self.hopeless = False
        self._spell: _Spell | None = None
        self._undecided: list[str] | None = None
        self._revoked_at = -math.inf

    def served(self, began: float) -> None:
        """Count a request that was answered."""
        self.counts["served"] += 1
        self.longest = max(self.longest, time.monotonic() - began)

    def cancelled(self) -> None:
        """Count a request that its caller gave up."""
        self.counts["cancelled"] += 1

    def failed(self, failed: Failed) -> None:
        """Judge a request that failed."""
        self.longest = max(self.longest, failed.ended - failed.began)
        if self._was_refused_twice(failed):
            self.counts["refused twice as tokens were revoked"] += 1
            return
        objection = self._objection(failed)
        if objection is None:
            self.counts[f"{failed.name} in an outage"] += 1
            return
        told = f"{failed.who}: {objection}: {failed.name}: {failed.error}"
        if self._undecided is None:
            self.violate(told)
        else:
            self._undecided.append(told)

    def violate(self, told: str) -> None:
        """Note that a rule was broken."""
        self.violated += 1
        if len(self.violations) < _EXAMPLES:
            self.violations.append(told)

    def begin_outage(self, outage: Outage) -> None:
        """Note that requests may fail from now on."""
        self._spell = _Spell(outage, time.monotonic())
        if outage.revoked:
            self.note_revocation()

    def end_outage(self) -> None:
        """Note that they no longer may, but for what is remembered."""
        if self._spell is not None:
            self._spell.ended = time.monotonic()

    def note_revocation(self) -> None:
        """Note that all tokens are about to be revoked."""
        self._revoked_at = time.monotonic()

    def begin_shower(self) -> None:
        """Wait with the verdict on failures until it is known how long it lasted."""
        self._undecided = []

    def end_shower(self, *, overran: bool) -> None:
        """Pass that verdict."""
        undecided, self._undecided = self._undecided or [], None
        if overran:
            self.counts["failed as a shower overran"] += len(undecided)
            return
        for told in undecided:
            self.violate(told)

    def _was_refused_twice(self, failed: Failed) -> bool:
        began_before = failed.began <= self._revoked_at + REVOKED_WITHIN
        return failed.error == "HTTP 401" and began_before and failed.ended >= self._revoked_at

    def _objection(self, failed: Failed) -> str | None:
        """Return why *failed* should not have failed, or not so."""
        spell = self._spell
        remembered_for = LONGEST_BACKOFF + SLACK
        if spell is None or not (
            failed.ended >= spell.began and failed.began <= spell.ended + remembered_for
        ):
            return "failed, though the policy could have saved it"
        if failed.ended < failed.token_ends and not spell.outage.revoked:
            return "failed in an outage, though its token is alive"
        error = failed.error
        if not isinstance(error, AuthError) or not (
            type(error) is spell.outage.error or _came_to_nothing(error)
        ):
            return f"failed in an outage ({spell.outage.kind}) with the wrong error"
        if error.endpoint is None or error.retry_at is None:
            return "failed with an error that does not say where, or until when"
        if (error.retry_at - datetime.now(UTC)).total_seconds() > remembered_for:
            return "failed for longer than the back-off"
        return None


def _came_to_nothing(error: AuthError) -> bool:
    """Return whether *error* says that no time was left; only its text tells."""
    is_of_that_kind = type(error) is TokenEndpointUnavailableError
    return is_of_that_kind and ("was not asked" in str(error) or "no time left" in str(error))
