"""
What 401s say about the places that tokens are sent to, as immutable values.

A place is a text that names a method, an origin and a path. One that refuses tokens which others accept
says nothing about the token. There is no clock here, and no decision about renewals.
"""

from __future__ import annotations

import enum

from collections.abc import Mapping
from typing import Final, Self, TypeVar

import attrs


V = TypeVar("V")

#: Places of each kind that are kept; the oldest go first.
MOST_PLACES: Final = 256


class Verdict(enum.Enum):
    """What a 401 leads to."""

    #: Another token is in use already, or is needed anyway, as this one has ended.
    REPLACED = enum.auto()
    #: The token is not good any more, so that a renewal is worth while.
    RENEW = enum.auto()
    #: No other token would help, or none may be asked for now.
    HAND_BACK = enum.auto()


@attrs.frozen(kw_only=True)
class Refusal:
    """
    The last 401 of a place.

    Attributes:
        version: The token that was refused.
        known_at: When the first such answer was there (`Clock.monotonic`).
        was_accepted: Whether the token had been accepted somewhere before.
        is_second: Whether the place had refused another token before, and accepted none since.
    """

    version: str
    known_at: float
    was_accepted: bool
    is_second: bool


@attrs.frozen(repr=False)
class Places:
    """
    What is known of places.

    Attributes:
        accepting: Those that accepted a token, as far as that was looked at, and about when that was
            (`Clock.monotonic`).
        refusing: Those that answered 401 last; None stands for a place that refuses what others
            accept.
        misleading: When each of the latter was found out, the last few times (`Clock.monotonic`); it
            may have answered otherwise since.
    """

    accepting: Mapping[str, float] = attrs.field(factory=dict[str, float])
    refusing: Mapping[str, Refusal | None] = attrs.field(factory=dict[str, "Refusal | None"])
    misleading: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict[str, tuple[float, ...]])

    def refuses_what_others_accept(self, place: str) -> bool:
        """Return whether a 401 of *place* says nothing about the token."""
        return place in self.refusing and self.refusing[place] is None

    def others_have_accepted(self, place: str, *, since: float) -> bool:
        """Return whether a place other than *place* accepted a token *since* then."""
        return any(moment >= since for each, moment in self.accepting.items() if each != place)

    def refuses_now_and_then(self, place: str, *, times: int, since: float) -> bool:
        """Return whether *place* was found out so many *times* since then, and accepted between."""
        moments = self.misleading.get(place, ())
        return len(moments) >= times and moments[-times] > since

    def some_misled(self, *, since: float) -> bool:
        """Return whether any place was found out *since* then, and has not answered otherwise."""
        return any(
            moments[-1] > since and self.refuses_what_others_accept(place)
            for place, moments in self.misleading.items()
        )

    def accept(self, place: str, now: float) -> Self:
        """Return what is known once *place* has accepted a token."""
        refusing = {each: last for each, last in self.refusing.items() if each != place}
        return attrs.evolve(self, accepting=_with(self.accepting, place, now), refusing=refusing)

    def refuse(self, place: str, refusal: Refusal) -> Self:
        """Return what is known once *place* has refused a token."""
        return attrs.evolve(self, refusing=_with(self.refusing, place, refusal))

    def distrust(self, place: str, now: float, *, times: int) -> Self:
        """Return what is known once *place* has refused what others accept; so many *times* are kept."""
        moments = (*self.misleading.get(place, ()), now)[-times:]
        return attrs.evolve(
            self,
            refusing=_with(self.refusing, place, None),
            misleading=_with(self.misleading, place, moments),
        )

    def contradicting(self, version: str, sent_at: float) -> tuple[str, ...]:
        """
        Return the places that had refused the token *version* when a request left that it is good for.

        Args:
            version: The token that was accepted.
            sent_at: When that request was sent (`Clock.monotonic`).
        """
        return tuple(
            place
            for place, last in self.refusing.items()
            if last is not None and last.version == version and last.known_at < sent_at
        )


def _with(kept: Mapping[str, V], place: str, value: V) -> dict[str, V]:
    rest = {each: kept[each] for each in kept if each != place}
    while len(rest) >= MOST_PLACES:
        del rest[next(iter(rest))]
    return {**rest, place: value}
