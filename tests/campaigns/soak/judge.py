"""
Whether the outcome of each request was right.

A request may fail only because of an outage: it began before the outage was over, or while its failure may
be remembered. The token that it began with has then ended or was revoked. Its error is the one for that
kind of outage, or says that no time was left because others held the store's lease. The error names the
endpoint, and a time of the next try within the back-off. Any other failure could have been avoided.

A request that is under way while tokens are revoked may be refused twice if a renewal ends meanwhile: with
the old token and with the new one, which was revoked too. It is not sent a third time.

A shower that lasted longer than intended, on a busy machine, is an unplanned outage; requests that fail
meanwhile are counted apart.
"""

from __future__ import annotations

import collections
import math
import threading
import time

from datetime import UTC, datetime
from typing import Final, final

import attrs

from taxizer_async import AuthError, TokenEndpointUnavailableError
from tests.campaigns.soak.weather import LONGEST_BACKOFF, Outage


#: Seconds that a busy loop may take to notice an answer.
SLACK: Final = 5.0
#: Seconds that no request may take, however long the outage.
STUCK_AFTER: Final = 60.0
#: Seconds from an order to revoke tokens until the sandbox's process has done so.
REVOKED_WITHIN: Final = 1.0
_EXAMPLES: Final = 10


@attrs.frozen(kw_only=True)
class Failed:
    """
    A request that failed.

    Attributes:
        auth: The name of its auth.
        began: When it was sent (`time.monotonic`).
        ended: When it failed.
        token_ends: When the token that it began with ends; long ago if there was none.
        error: The error, or the status as text.
    """

    auth: str
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
    """An outage, its beginning and its end."""

    outage: Outage
    began: float
    ended: float = math.inf


@final
class Judge:
    """
    Counts requests, and notes failures that could have been avoided; any thread may tell it of one.

    Args:
        longest_backoff: Seconds that a failure is remembered at most.
    """

    def __init__(self, longest_backoff: float = LONGEST_BACKOFF) -> None:
        self._remembered_for = longest_backoff + SLACK
        self._lock = threading.RLock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.violations: list[str] = []
        self.violated = 0
        self.longest = 0.0
        #: Whether a member was never served again, so that the soak stops.
        self.hopeless = False
        self._spell: _Spell | None = None
        self._undecided: list[str] | None = None
        self._revoked_at = -math.inf

    def served(self, began: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self.counts["served"] += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def cancelled(self) -> None:
        """Count a request that its caller gave up."""
        with self._lock:
            self.counts["cancelled"] += 1

    def failed(self, failed: Failed) -> None:
        """Judge a request that failed."""
        with self._lock:
            self._judge(failed)

    def violate(self, told: str) -> None:
        """Note that a rule was broken."""
        with self._lock:
            self.violated += 1
            if len(self.violations) < _EXAMPLES:
                self.violations.append(told)

    def begin_outage(self, outage: Outage) -> None:
        """Note that requests may fail from now on."""
        self._spell = _Spell(outage, time.monotonic())
        if outage.revoked:
            self.note_revocation()

    def end_outage(self) -> None:
        """Note that they no longer may, except while the failure is remembered."""
        if self._spell is not None:
            self._spell.ended = time.monotonic()

    def note_revocation(self) -> None:
        """Note that all tokens are about to be revoked."""
        self._revoked_at = time.monotonic()

    def begin_shower(self) -> None:
        """Hold back the verdict on failures until the length of the shower is known."""
        self._undecided = []

    def end_shower(self, *, overran: bool) -> None:
        """Pass that verdict."""
        with self._lock:
            undecided, self._undecided = self._undecided or [], None
        if overran:
            self.counts["failed as a shower overran"] += len(undecided)
            return
        for told in undecided:
            self.violate(told)

    def _judge(self, failed: Failed) -> None:
        self.longest = max(self.longest, failed.ended - failed.began)
        if self._was_refused_twice(failed):
            self.counts["refused twice as tokens were revoked"] += 1
            return
        objection = self._objection(failed)
        if objection is None:
            self.counts[f"{failed.name} in an outage"] += 1
            return
        told = f"{failed.auth}: {objection}: {failed.name}: {failed.error}"
        if self._undecided is None:
            self.violate(told)
        else:
            self._undecided.append(told)

    def _was_refused_twice(self, failed: Failed) -> bool:
        began_before = failed.began <= self._revoked_at + REVOKED_WITHIN
        return failed.error == "HTTP 401" and began_before and failed.ended >= self._revoked_at

    def _objection(self, failed: Failed) -> str | None:
        """Return why *failed* should not have failed in this way; None if it may."""
        spell = self._spell
        remembered_for = self._remembered_for
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
