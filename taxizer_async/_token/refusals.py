"""
What 401s and other answers say about the token and the place that it was sent to.

Pure rules: each takes what is known, and returns what is known then. `places` keeps what is known of places;
nothing here renews, waits or reports.
"""

from __future__ import annotations

import math

import attrs

from taxizer_async._core.policy import (
    ACCEPTANCE_COUNTS,
    ACCEPTANCE_NOTED_EVERY,
    OTHERS_TELL_WITHIN,
    RenewalPolicy,
)
from taxizer_async._token.cache_state import CacheState, RenewalOf401
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.places import Refusal, Verdict


def is_news(
    state: CacheState, cached: CachedToken, place: str, *, sent_at: float, now: float
) -> bool:
    """Return whether it changes anything that *place* accepted *cached*, which was sent at that time."""
    current, places = state.cached, state.places
    if place in places.refusing:
        return True
    if current is None or not current.same_token(cached):
        return False
    if current.refused or not current.accepted:
        return True
    noted = places.accepting.get(place, -math.inf)
    is_due = bool(places.refusing) and now - noted >= ACCEPTANCE_NOTED_EVERY
    return is_due or bool(places.contradicting(current.version, sent_at))


def after_acceptance(
    state: CacheState,
    cached: CachedToken,
    place: str,
    *,
    sent_at: float,
    now: float,
    policy: RenewalPolicy,
) -> tuple[CacheState, bool]:
    """Return what is known then, and whether the token in use turns out to be good after a 401."""
    current = state.cached
    places = state.places.accept(place, now) if place else state.places
    if current is None or not current.same_token(cached):
        return attrs.evolve(state, places=places), False
    is_good = current.refused and sent_at > current.refused_sent
    unfounded = places.contradicting(current.version, sent_at)
    for each in unfounded:
        places = places.distrust(each, now, times=policy.unauthorized_budget)
    changed = attrs.evolve(
        state,
        cached=attrs.evolve(current, accepted=True, refused=current.refused and not is_good),
        places=places,
        renewals_of_401s=tuple(
            each
            for each in state.renewals_of_401s
            if each.place not in unfounded and not (is_good and each.version == current.version)
        ),
    )
    return changed, is_good


def after_refusal(
    state: CacheState,
    cached: CachedToken,
    place: str,
    *,
    sent_at: float,
    now: float,
    policy: RenewalPolicy,
) -> tuple[CacheState, Verdict, bool]:
    """Return what is known then, what follows, and whether that is to be reported."""
    current = state.cached
    if current is None or not current.same_token(cached):
        return state, Verdict.REPLACED, False
    if current.is_over(now):
        # It ended on the way, which says nothing of the place.
        return state, Verdict.REPLACED, False
    verdict = _judge(state, current, place, now, policy)
    is_reported = current.reported not in (verdict, Verdict.RENEW)
    last = state.places.refusing.get(place)
    is_again = current.refused and last is not None and last.version == current.version
    tells_more = verdict is Verdict.RENEW and not is_again
    if current.by_refresh and not current.accepted and verdict is Verdict.RENEW:
        # Not the token may be at fault, but the endpoint that it came from.
        state = state.passing_over_refresh(now + policy.refresh_distrusted)
    state = _note(state, current, place, verdict, now=now, policy=policy)
    current = attrs.evolve(
        current,
        reported=verdict if is_reported else current.reported,
        refused=current.refused or verdict is Verdict.RENEW,
        refused_sent=max(current.refused_sent, sent_at if tells_more else -math.inf),
    )
    return attrs.evolve(state, cached=current), verdict, is_reported


def _judge(
    state: CacheState, current: CachedToken, place: str, now: float, policy: RenewalPolicy
) -> Verdict:
    """Return what a 401 of *place* for the token in use leads to."""
    places = state.places
    last = places.refusing.get(place)
    if places.refuses_what_others_accept(place) and places.others_have_accepted(
        place, since=now - ACCEPTANCE_COUNTS
    ):
        return Verdict.HAND_BACK
    if current.refused:
        return Verdict.RENEW
    if current.accepted and _has_refused_another(last, current):
        # It refused the token before, and this one is good elsewhere.
        return Verdict.HAND_BACK
    is_unknown = bool(place) and place not in places.accepting
    is_doubtful = current.by_refresh and not current.accepted
    if is_doubtful and is_unknown and last is not None:
        # The place is at fault, or the endpoint that the token came from: others will soon tell.
        is_second = last.version != current.version
        is_recent = now - last.known_at < OTHERS_TELL_WITHIN
        if last.was_accepted if is_second else is_recent:
            return Verdict.HAND_BACK
    since = now - policy.unauthorized_window
    times = policy.unauthorized_budget
    is_suspect = places.refuses_now_and_then(place, times=times, since=since) or (
        is_unknown and places.some_misled(since=since)
    )
    if current.accepted and is_suspect:
        # It refuses now and then, or for the same reason as another.
        return Verdict.HAND_BACK
    is_hopeless = (
        current.answers_refusal
        and not is_doubtful
        and not current.accepted
        and now - current.requested_at < policy.refused_interval
    )
    is_exhausted = len(_counting(state, now, policy)) >= policy.unauthorized_budget
    return Verdict.HAND_BACK if is_hopeless or is_exhausted else Verdict.RENEW


def _note(
    state: CacheState,
    current: CachedToken,
    place: str,
    verdict: Verdict,
    *,
    now: float,
    policy: RenewalPolicy,
) -> CacheState:
    """Return *state* with what the 401 says of *place*, and with the renewal that it causes."""
    places, renewals = state.places, _counting(state, now, policy)
    last = places.refusing.get(place)
    if current.accepted and _has_refused_another(last, current):
        places = places.distrust(place, now, times=policy.unauthorized_budget)
        renewals = tuple(each for each in renewals if each.place != place)
    elif place and not (verdict is Verdict.HAND_BACK and places.refuses_what_others_accept(place)):
        is_again = last is not None and last.version == current.version
        refusal = Refusal(
            version=current.version,
            known_at=last.known_at if last is not None and is_again else now,
            was_accepted=current.accepted,
            is_second=_has_refused_another(last, current),
        )
        places = places.refuse(place, refusal)
    if verdict is Verdict.RENEW and not current.refused:
        renewal = RenewalOf401(at=now, place=place, version=current.version)
        renewals = (*renewals, renewal)
    return attrs.evolve(state, places=places, renewals_of_401s=renewals)


def _counting(state: CacheState, now: float, policy: RenewalPolicy) -> tuple[RenewalOf401, ...]:
    window = policy.unauthorized_window
    return tuple(each for each in state.renewals_of_401s if now - each.at < window)


def _has_refused_another(last: Refusal | None, current: CachedToken) -> bool:
    """Return whether the place whose *last* 401 that is had refused another token than *current*."""
    return last is not None and (last.version != current.version or last.is_second)
