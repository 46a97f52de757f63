"""
Which faults come, and what the policy promises meanwhile.

A shower is a fault from which the policy saves every request, so none may fail:

- An endpoint fails at most three times, or for less time than the pauses between the first four attempts
  add up to, so a login gets its token with the fourth attempt at the latest.
- A try ahead of need is answered at once or in the end with a token, so its failure and its short back-off
  are over before the token is.
- A token is refused once. The next shower comes only when no request is busy with this one, and each member
  has had an answer to a new request.
- Of the answers to resource requests only 401s are wrong: other errors concern no credential.

An outage lasts longer than a login tries and, unless the token is revoked, longer than the token lives.
Requests may then fail as `judge` says. A brief outage is of a kind that ends a login at its first answer.
"""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Final

import attrs

from taxizer_async import (
    AuthError,
    CredentialsRejectedError,
    RenewalPolicy,
    TokenEndpointUnavailableError,
    TokenResponseError,
)
from tests.campaigns.soak.link import Step


if TYPE_CHECKING:
    import random

    from collections.abc import Iterator


#: A token's life in seconds.
LIFETIME: Final = 2.0

#: The default policy is for tokens of minutes. Here back-offs are shorter, and the budget covers a refusal
#: per shower and per token that ends on its way to the server.
POLICY: Final = RenewalPolicy(
    backoff=0.1,
    attempt_timeout=3.0,
    connect_timeout=3.0,
    exchange_timeout=4.0,
    retry_after_limit=0.5,
    outage_backoff=0.02,
    outage_backoff_limit=0.5,
    rejected_for=0.5,
    refresh_passed_over=0.2,
    refresh_distrusted=0.2,
    unauthorized_budget=30,
    unauthorized_window=5.0,
)
#: Seconds between two showers at least, so that their refusals stay within the budget.
PAUSE: Final = 0.25

#: Wrong answers in a burst, at most.
LONGEST_BURST: Final = 3
#: Seconds that the attempts of a login spread over at least: one for each of those answers, and one more.
SHORTEST_EFFORT: Final = POLICY.backoff * (2**LONGEST_BURST - 1) / 2

#: Seconds that a failure is remembered at most.
LONGEST_BACKOFF: Final = max(POLICY.outage_backoff_limit, POLICY.rejected_for)
#: Seconds from the end of an outage until each member is served again: the rest of the longest back-off
#: or of a login, and then a login on a very busy machine.
RECOVERS_WITHIN: Final = LONGEST_BACKOFF + POLICY.exchange_timeout + 30.0

_ENDPOINTS: Final = ("refresh", "connect")
_UNAVAILABLE: Final = ("503", "503, later", "429", "500", "reset")
_ERRORS: Final[dict[str, type[AuthError]]] = {
    **dict.fromkeys((*_UNAVAILABLE, "hang"), TokenEndpointUnavailableError),
    "junk": TokenResponseError,
    "refused": CredentialsRejectedError,
}
_SAVED: Final = (
    "503",
    "429",
    "500",
    "reset",
    "drop",
    "truncate",
    "no refresh token",
    "hang 0.2 s",
    "junk",
)
#: The answers of a burst; a definite refusal by Connect can't be saved from.
_BURSTS: Final = {"connect": _SAVED, "refresh": (*_SAVED, "refused")}


@attrs.frozen(kw_only=True)
class Shower:
    """
    Faults that every request survives.

    Attributes:
        names: What happens, for the count.
        steps: What the sandbox does.
        limit: Seconds that this may take for the promise to hold.
        forgets: Whether tokens are forgotten meanwhile.
        cancels: The share of the requests under way that is cancelled meanwhile.
        restarts_keeper: Whether `keep_fresh` is cancelled and started again meanwhile.
        after: Seconds from the start to these three.
    """

    names: tuple[str, ...]
    steps: tuple[Step, ...]
    limit: float
    forgets: bool
    cancels: float
    restarts_keeper: bool
    after: float


@attrs.frozen(kw_only=True)
class Outage:
    """
    Both token endpoints are down for longer than the policy covers.

    Attributes:
        kind: How they are.
        seconds: For how long.
        revoked: Whether tokens are revoked as it begins.
        error: What requests may fail with.
    """

    kind: str
    seconds: float
    revoked: bool
    error: type[AuthError]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the sandbox does."""
        down = tuple(("fail", where, self.kind, None) for where in _ENDPOINTS)
        revoke: tuple[Step, ...] = (("revoke",),) if self.revoked else ()
        return (*down, *revoke, ("last", self.seconds), ("heal",))


def draw_shower(rng: random.Random) -> Shower:
    """Draw a shower."""
    trouble, steps, limit = rng.choice((_burst, _window, _slowness, _unauthorized))(rng)
    trigger = rng.choice(("", "", "", "revoke", "revoke refresh tokens", "forget"))
    if trouble == "one 401" and trigger == "revoke":
        trigger = ""
    if trigger and trigger != "forget":
        steps = ((trigger,), *steps)
    cancels = rng.choice((0.0, 0.0, 0.3, 1.0))
    restarts_keeper = rng.random() < 0.2
    names = (
        trigger,
        trouble,
        "cancel callers" if cancels else "",
        "restart keep_fresh" if restarts_keeper else "",
    )
    return Shower(
        names=tuple(filter(None, names)),
        steps=steps,
        limit=limit,
        forgets=trigger == "forget",
        cancels=cancels,
        restarts_keeper=restarts_keeper,
        after=rng.uniform(0.0, 0.1),
    )


def draw_outages(
    rng: random.Random,
    *,
    brief: bool,
    policy: RenewalPolicy = POLICY,
    lifetime: float = LIFETIME,
) -> Iterator[Outage]:
    """Draw outages, each kind in its turn; a *brief* one is over within two seconds."""
    kinds = [kind for kind in _ERRORS if not (brief and _is_retried(kind))]
    while True:
        for kind in rng.sample(kinds, len(kinds)):
            revoked = brief or rng.random() < 0.5
            effort = policy.exchange_timeout if _is_retried(kind) else 2 * SHORTEST_EFFORT
            more = rng.uniform(0.1, 0.3 if brief else 1.0) + (0.0 if revoked else lifetime)
            yield Outage(kind=kind, seconds=effort + more, revoked=revoked, error=_ERRORS[kind])


def _is_retried(kind: str) -> bool:
    """Return whether a login goes on after an answer of that *kind* for as long as it may."""
    return kind != "refused"


_Trouble = tuple[str, tuple["Step", ...], float]


def _burst(rng: random.Random) -> _Trouble:
    """A few answers go wrong, whenever they come."""
    where = rng.choice(_ENDPOINTS)
    fault = rng.choice(_BURSTS[where])
    times = rng.randint(1, LONGEST_BURST)
    steps = (("fail", where, fault, times), ("last", rng.uniform(0.05, 0.6)), ("heal",))
    return f"{where}: {fault}, {times} times", steps, math.inf


def _window(rng: random.Random) -> _Trouble:
    """All answers go wrong for a moment."""
    places = rng.choice((("refresh",), ("connect",), _ENDPOINTS))
    fault = rng.choice(_UNAVAILABLE)
    down = tuple(("fail", where, fault, None) for where in places)
    steps = (*down, ("last", rng.uniform(0.02, 0.7 * SHORTEST_EFFORT)), ("heal",))
    return f"{' and '.join(places)} down: {fault}", steps, SHORTEST_EFFORT


def _slowness(rng: random.Random) -> _Trouble:
    """Answers take their time."""
    where = rng.choice((*_ENDPOINTS, "resource"))
    steps = (
        ("slow down", where, rng.uniform(0.01, 0.1)),
        ("last", rng.uniform(0.1, 0.5)),
        ("slow down", where, 0.0),
    )
    return f"{where}: slow", steps, math.inf


def _unauthorized(_: random.Random) -> _Trouble:
    """A good token is refused once."""
    steps = (("fail", "resource", "unauthorized", 1), ("last", 0.05), ("heal",))
    return "one 401", steps, math.inf
