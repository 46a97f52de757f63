from __future__ import annotations

from unittest import mock

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async._token import places as module
from taxizer_async._token.places import MOST_PLACES, Places, Refusal


NAMES = st.sampled_from("abcde")
CHANGES = st.lists(st.tuples(st.sampled_from(["accept", "refuse", "distrust"]), NAMES))


def refusal(version: str = "v1", *, known_at: float = 5.0) -> Refusal:
    return Refusal(version=version, known_at=known_at, was_accepted=True, is_second=False)


def change(places: Places, what: str, name: str, now: float) -> Places:
    match what:
        case "accept":
            return places.accept(name, now)
        case "refuse":
            return places.refuse(name, refusal(known_at=now))
        case _:
            return places.distrust(name, now, times=3)


@given(CHANGES)
def test_the_last_answer_of_a_place_counts(changes: list[tuple[str, str]]) -> None:
    """Only the last answer of a place counts, whatever other places answered."""
    places = Places()
    for now, (what, name) in enumerate(changes):
        places = change(places, what, name, now)
    last = {name: what for what, name in changes}

    assert set(places.refusing) == {name for name in last if last[name] != "accept"}
    assert {name for name in "abcde" if places.refuses_what_others_accept(name)} == {
        name for name in last if last[name] == "distrust"
    }


@given(CHANGES)
def test_the_oldest_places_go_first(changes: list[tuple[str, str]]) -> None:
    """The places of each kind that answered last are kept."""
    places = Places()
    with mock.patch.object(module, "MOST_PLACES", 2):
        for now, (what, name) in enumerate(changes):
            places = change(places, what, name, now)
    accepted = [name for what, name in changes if what == "accept"]

    assert len(places.refusing) <= 2
    assert len(places.misleading) <= 2
    assert list(places.accepting) == list(dict.fromkeys(reversed(accepted)))[:2][::-1]


def test_256_places_are_kept() -> None:
    """At most 256 places of each kind are remembered."""
    places = Places()
    for number in range(2 * MOST_PLACES):
        places = places.accept(f"a{number}", 0.0).distrust(f"r{number}", 0.0, times=3)

    assert MOST_PLACES == 256
    assert len(places.accepting) == len(places.refusing) == len(places.misleading) == 256
    assert "r511" in places.refusing


@pytest.mark.parametrize(
    ("name", "since", "accepted"),
    [("b", 10.0, True), ("b", 10.1, False), ("a", 0.0, False), ("", 0.0, True)],
)
def test_others_have_accepted(name: str, since: float, accepted: bool) -> None:
    """Only another place counts, and only if it accepted recently."""
    assert Places().accept("a", 10.0).others_have_accepted(name, since=since) is accepted


@pytest.mark.parametrize(
    ("version", "sent_at", "found"),
    [
        pytest.param("v1", 5.1, ("a",), id="sent when the refusal was known"),
        pytest.param("v1", 5.0, (), id="at the same time"),
        pytest.param("v1", 4.9, (), id="sent before, so that it may have been revoked since"),
        pytest.param("v2", 9.0, (), id="another token"),
        pytest.param("v3", 9.0, (), id="a place that is known already"),
    ],
)
def test_contradicting(version: str, sent_at: float, found: tuple[str, ...]) -> None:
    """A request that left after the refusal of the same token contradicts the place."""
    places = (
        Places().refuse("a", refusal("v1")).refuse("b", refusal("v3")).distrust("b", 5.0, times=3)
    )

    assert places.contradicting(version, sent_at) == found


@pytest.mark.parametrize(
    ("moments", "does"),
    [
        ([], False),
        ([9.0], False),
        ([8.0, 9.0], True),
        ([4.0, 9.0], False),
        ([5.0, 9.0], False),
        ([4.0, 8.0, 9.0], True),
        ([4.0, 6.0, 7.0, 9.0], True),
    ],
)
def test_refuses_now_and_then(moments: list[float], does: bool) -> None:
    """A place that misled twice of late refuses now and then, even if it accepts between."""
    places = Places()
    for moment in moments:
        places = places.distrust("a", moment, times=3).accept("a", moment)

    assert places.refuses_now_and_then("a", times=2, since=5.0) is does
    assert not places.some_misled(since=5.0)
    assert len(places.misleading.get("a", ())) <= 3
    assert not places.refuses_now_and_then("b", times=2, since=5.0)


@pytest.mark.parametrize(("since", "some"), [(5.0, False), (4.9, True)])
def test_some_place_misled(since: float, some: bool) -> None:
    """A place that misled of late counts until it accepts."""
    places = Places().distrust("a", 3.0, times=3).distrust("a", 5.0, times=3)
    places = places.distrust("b", 4.0, times=3)

    assert places.some_misled(since=since) is some
    assert not places.accept("a", 6.0).some_misled(since=since)
