"""
What a process may know of the places that it sends its token to, kept by hand, and what 401s may cause.

The promise is exact. A 401 of a place causes no renewal in two cases: the place has refused another token
before and has only refused since, and this token was accepted elsewhere; or the place refused a token, and
a request that was sent later with that token was accepted elsewhere, for as long as others go on accepting.
A place that sometimes refuses and sometimes accepts causes at most three renewals in 30 s. Without such
evidence, a place that refuses what others accept can't be told from a revoked token.
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


#: The defaults of `RenewalPolicy` and its module's constants, written down by hand.
BUDGET, WINDOW = 3, 30.0
REFUSED_INTERVAL = 30.0
#: An acceptance elsewhere counts for so long, and is noted no more often than that.
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
    #: When it was last found to refuse what others accept, and all such times.
    misled_at: float = -math.inf
    misled: list[float] = attrs.field(factory=list[float])


@attrs.frozen(kw_only=True)
class _Renewal:
    at: float
    place: str
    jwt: str


class Evidence:
    """The answers that one process got."""

    def __init__(
        self, clock: ManualClock, adoptions: Callable[[], int], fail: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._adoptions = adoptions
        self._fail = fail
        self._places: dict[str, _Place] = {}
        #: JWTs that were accepted since they came, each with the number of adoptions before it.
        self._accepted: set[tuple[str, int]] = set()
        #: For each JWT, when the last request that was refused with it was sent.
        self._refused_sent: dict[str, float] = {}
        #: Renewals caused by 401s, except those known to be unfounded.
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
            # A process remembers only the last token that a place refused.
            is_last = next(reversed(other.refused), None) == jwt
            if is_last and not other.is_known and other.refused[jwt] < sent_at:
                self._know(name)
        if current.refused and sent_at > self._refused_sent.get(jwt, -math.inf):
            self._renewals = [each for each in self._renewals if each.jwt != jwt]

    def refuse(
        self, place: str, before: CachedToken, verdict: Verdict, *, sent_at: float, renewed: bool
    ) -> None:
        """
        Check and note the verdict on a 401 of *place* for the token in use.

        Args:
            place: Where it was refused.
            before: The token, as it was before the 401.
            verdict: What the provider decided.
            sent_at: When the request was sent.
            renewed: Whether it came from AppRefreshToken, as far as this process knows.
        """
        here, now = self._place(place), self._clock.monotonic()
        jwt = before.token.jwt.reveal()
        # The process may know less about the place than this model, which also keeps older tokens.
        may_be_second = any(each != jwt for each in here.refused) and self.has_accepted(jwt)
        is_second = may_be_second and not here.is_known
        others = [other for other in self._places.values() if other is not here]
        # The process notes acceptances once in a while only, and some for a token since replaced.
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
            # No other place has accepted a token for long, so this one is judged anew.
            here.refused.clear()
            here.is_known = False
        if verdict is Verdict.RENEW and not (before.refused and jwt in here.refused):
            self._refused_sent[jwt] = max(sent_at, self._refused_sent.get(jwt, -math.inf))
        if next(reversed(here.refused), None) != jwt:
            # The last comes last.
            here.refused.pop(jwt, None)
            here.refused[jwt] = now
        if is_second:
            self._know(place)
        if len(self._counting()) > BUDGET:
            self._fail("401s cause three renewals in 30 s at most")

    def _may_rest(self, here: _Place, before: CachedToken, *, renewed: bool) -> bool:
        """Return whether this 401 alone is a reason not to replace the token *before*."""
        jwt, now = before.token.jwt.reveal(), self._clock.monotonic()
        if len(self._counting()) >= BUDGET:
            return True
        if self.has_accepted(jwt):
            known = (each.misled_at for each in self._places.values() if each.is_known)
            misled_at = max(known, default=-math.inf)
            is_unknown = here.accepted_at <= misled_at
            return self._has_misled(here) or (now - misled_at < WINDOW and is_unknown)
        if renewed:
            # Either the place or AppRefreshToken is at fault: an answer elsewhere or the next 401 tells.
            return bool(here.refused) and now - here.refused.get(jwt, now) < OTHERS_TELL_WITHIN
        return before.answers_refusal and before.age(self._clock) < REFUSED_INTERVAL

    def _has_misled(self, here: _Place) -> bool:
        """Return whether a place that sometimes accepts has used up its own budget."""
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
