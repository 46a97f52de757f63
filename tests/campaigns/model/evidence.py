"""
What a process may know of the places that it sends its token to, kept by hand, and what follows from 401s.

The promise is exact: a 401 of a place costs no renewal if the place has refused another token before, and
nothing else since, and this one was accepted elsewhere; nor once the place refused a token before a request
was sent that another place accepted with that token, for as long as others go on accepting. One that refuses now and then, and accepts
between, costs three within 30 s. Until then there is no telling a place that refuses what others accept from a revoked token.
"""

from __future__ import annotations

import math

from typing import TYPE_CHECKING

import attrs

from taxizer_async._token.places import Verdict


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async.testing import ManualClock


#: The defaults of `RenewalPolicy`, and what else is in `_policy`, but written down by hand.
BUDGET, WINDOW = 3, 30.0
REFUSED_INTERVAL = 30.0
#: Others are taken to accept for so long; that they do is noted once in a while only.
ACCEPTANCE_COUNTS, NOTED_EVERY = 600.0, 60.0
OTHERS_TELL_WITHIN = 1.0


@attrs.define(eq=False)
class _Place:
    #: The JWTs that it refused since it last answered otherwise, and when that was first known.
    refused: dict[str, float] = attrs.field(factory=dict[str, float])
    #: Whether it is known to refuse what others accept.
    is_known: bool = False
    #: When it last accepted the token in use, and any.
    accepted_at: float = -math.inf
    accepted_any_at: float = -math.inf
    #: When it was last found out to refuse what others accept, and when of all times.
    misled_at: float = -math.inf
    misled: list[float] = attrs.field(factory=list[float])


@attrs.frozen(kw_only=True)
class _Renewal:
    at: float
    place: str
    jwt: str


class Evidence:
    """What one process was answered."""

    def __init__(
        self, clock: ManualClock, adoptions: Callable[[], int], fail: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._adoptions = adoptions
        self._fail = fail
        self._places: dict[str, _Place] = {}
        #: JWTs that were accepted since they came, by how often was adopted before.
        self._accepted: set[tuple[str, int]] = set()
        #: When the last of the requests was sent that a token was refused in, one of each place.
        self._refused_sent: dict[str, float] = {}
        #: Renewals caused by 401s, but for those that are known to be unfounded.
        self._renewals: list[_Renewal] = []

    def forget(self) -> None:
        """Note that the token was dropped."""
        self._accepted.clear()
        self._refused_sent.clear()

    def has_accepted(self, jwt: str) -> bool:
        """Return whether *jwt*, the token in use, was accepted anywhere."""
        return (jwt, self._adoptions()) in self._accepted

    def accept(self, place: str, jwt: str, current: CachedToken | None, *, sent_at: float) -> None:
        """Note that *place* accepted *jwt*; *current* is the token in use."""
        here, now = self._place(place), self._clock.monotonic()
        here.refused.clear()
        here.is_known = False
        here.accepted_any_at = now
        if current is None or current.token.jwt.reveal() != jwt:
            return
        here.accepted_at = now
        self._accepted.add((jwt, self._adoptions()))
        for name, other in self._places.items():
            if not other.is_known and other.refused.get(jwt, math.inf) < sent_at:
                self._know(name)
        if current.refused and sent_at > self._refused_sent.get(jwt, -math.inf):
            self._renewals = [each for each in self._renewals if each.jwt != jwt]

    def refuse(
        self, place: str, before: CachedToken, verdict: Verdict, *, sent_at: float, renewed: bool
    ) -> None:
        """
        Check and note what came of a 401 of *place* for the token in use.

        Args:
            place: Where it was refused.
            before: The token, as it was before that.
            verdict: What came of it.
            sent_at: When it was sent.
            renewed: Whether it came from AppRefreshToken, as far as this process knows.
        """
        here, now = self._place(place), self._clock.monotonic()
        jwt = before.token.jwt.reveal()
        # The process may not know of the place what this does, as it knows of an older token only.
        may_be_second = any(each != jwt for each in here.refused) and self.has_accepted(jwt)
        is_second = may_be_second and not here.is_known
        others = [other for other in self._places.values() if other is not here]
        # That others accept is noted once in a while, and at times of a token that was replaced, too.
        is_surely_known = here.is_known and any(
            now - other.accepted_at < ACCEPTANCE_COUNTS - NOTED_EVERY for other in others
        )
        may_be_known = here.is_known and any(
            now - other.accepted_any_at <= ACCEPTANCE_COUNTS for other in others
        )
        if verdict is Verdict.RENEW:
            misled = self._has_misled(here) and self.has_accepted(jwt)
            if is_surely_known or (not before.refused and (is_second or misled)):
                self._fail("a place that refuses what others accept costs no renewal")
        elif not (
            may_be_known
            or (
                not before.refused
                and (may_be_second or self._may_rest(here, before, renewed=renewed))
            )
        ):
            self._fail("a 401 is handed back for a reason only")
        if verdict is Verdict.RENEW and not before.refused:
            self._renewals.append(_Renewal(at=now, place=place, jwt=jwt))
        if verdict is Verdict.RENEW and here.is_known:
            # Nobody has accepted anything for long, so it is judged anew.
            here.refused.clear()
            here.is_known = False
        if verdict is Verdict.RENEW and not (before.refused and jwt in here.refused):
            self._refused_sent[jwt] = max(sent_at, self._refused_sent.get(jwt, -math.inf))
        here.refused.setdefault(jwt, now)
        if is_second:
            self._know(place)
        if len(self._counting()) > BUDGET:
            self._fail("401s cause three renewals in 30 s at most")

    def _may_rest(self, here: _Place, before: CachedToken, *, renewed: bool) -> bool:
        """Say whether there is a reason of its own not to replace the token *before*."""
        jwt, now = before.token.jwt.reveal(), self._clock.monotonic()
        if len(self._counting()) >= BUDGET:
            return True
        if self.has_accepted(jwt):
            known = (each.misled_at for each in self._places.values() if each.is_known)
            misled_at = max(known, default=-math.inf)
            is_unknown = here.accepted_at <= misled_at
            return self._has_misled(here) or (now - misled_at < WINDOW and is_unknown)
        if renewed:
            # The place is at fault, or AppRefreshToken: others tell soon, or the next 401 does.
            return bool(here.refused) and now - here.refused.get(jwt, now) < OTHERS_TELL_WITHIN
        return before.answers_refusal and before.age(self._clock) < REFUSED_INTERVAL

    def _has_misled(self, here: _Place) -> bool:
        """Say whether a place that accepts now and then has used a budget of its own up."""
        now = self._clock.monotonic()
        return sum(now - moment < WINDOW for moment in here.misled) >= BUDGET

    def _know(self, place: str) -> None:
        self._places[place].is_known = True
        here = self._places[place]
        here.misled_at = self._clock.monotonic()
        here.misled.append(here.misled_at)
        self._renewals = [each for each in self._renewals if each.place != place]

    def _counting(self) -> list[_Renewal]:
        now = self._clock.monotonic()
        return [each for each in self._renewals if now - each.at < WINDOW]

    def _place(self, name: str) -> _Place:
        return self._places.setdefault(name, _Place())
