"""The pictures of the documentation: each has its texts, loads nothing, and agrees with the code."""

from __future__ import annotations

import re

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from taxizer_async._core.policy import LONGEST_WAIT_FOR_REPLACEMENT, RenewalPolicy
from tests.documents.pages import NAMES, ROOT, text_of
from tests.test_house import ROOMS


ASSETS: Final = ROOT / "docs" / "assets"
DRAWN: Final = ["one-refresh", "shared-store", "token-life", "token-states", "rooms", "demo"]
_PICTURE: Final = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_SVG: Final = "{http://www.w3.org/2000/svg}"
#: Bytes of a screenshot.
_LARGEST: Final = 150_000


def _read(name: str) -> ET.Element:
    return ET.fromstring((ASSETS / f"{name}.svg").read_text("utf-8"))  # noqa: S314 - our own


def _words(name: str) -> list[str]:
    return ["".join(text.itertext()) for text in _read(name).iter(f"{_SVG}text")]


def _shown() -> Iterator[Path]:
    for name in NAMES:
        for _, target in _PICTURE.findall(text_of(name)):
            yield ((ROOT / name).parent / target.partition("#")[0]).resolve()


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_says_what_it_shows(name: str) -> None:
    """A reader who sees no picture, and a picture that does not load, have its alternative text."""
    for text, target in _PICTURE.findall(text_of(name)):
        assert len(text.split()) > 3, target
    assert "<img" not in text_of(name)


def test_every_picture_is_shown() -> None:
    """No picture is left behind when a page changes."""
    kept = {path.resolve() for kind in ("svg", "png") for path in ASSETS.rglob(f"*.{kind}")}
    assert kept - set(_shown()) == set()


def test_every_screenshot_is_small() -> None:
    """A page with screenshots loads on a phone."""
    shots = {path for path in _shown() if path.suffix == ".png"}
    assert [path for path in shots if path.stat().st_size > _LARGEST] == []


def test_every_picture_suits_a_dark_page() -> None:
    """Each SVG has other colors on a dark page."""
    plain = {
        path
        for path in _shown()
        if path.suffix == ".svg" and "prefers-color-scheme: dark" not in path.read_text("utf-8")
    }
    assert plain == set()


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_has_a_title_and_loads_nothing(name: str) -> None:
    """A screen reader finds title and description, and no picture asks another host for a font."""
    root = _read(name)
    texts = [root.findtext(f"{_SVG}{kind}") for kind in ("title", "desc")]
    text = (ASSETS / f"{name}.svg").read_text("utf-8")

    assert root.get("role") == "img"
    assert all(texts)
    assert text.count("://") == text.count('xmlns="http://')


def test_pictures_have_one_style() -> None:
    """All have the same fonts, strokes and colors."""
    styles = {_read(name).findtext(f"{_SVG}style") for name in DRAWN}

    assert len(styles) == 1


def test_the_time_line_has_the_times_of_the_policy() -> None:
    """The windows of a token of an hour are those that the policy gives it."""
    policy = RenewalPolicy()
    first, last = policy.schedule(3600, 0), policy.schedule(3600, 1)
    times = (0, first.renew_after, last.renew_after, first.must_after, first.ends_after)

    shown = re.findall(r"\d+:\d\d(?= |$)", " ".join(_words("token-life")))
    assert set(shown) == {f"{time // 60:.0f}:{time % 60:02.0f}" for time in times}


def test_the_picture_of_the_states_has_those_of_the_page() -> None:
    """It has each state of the table, and the longest wait for the replacement of a refused token."""
    page = text_of("docs/explanation/token-life.md")
    table = page.partition("| State |")[2].partition("\n\n")[0]
    states = re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)
    words = set(_words("token-states"))

    assert {"none", "fresh", "refused"} < set(states) <= words
    assert f"wait up to {LONGEST_WAIT_FOR_REPLACEMENT:g} s" in words


def test_the_picture_of_the_rooms_has_their_rules() -> None:
    """Its arrows permit the imports that the house permits, and no other."""
    below: dict[str, set[str]] = {}
    for arrow in _read("rooms").iter(f"{_SVG}path"):
        upper, _, lower = arrow.get("id", "").partition("-")
        if lower:
            below.setdefault(upper, set()).add(lower)

    def reached(room: str) -> set[str]:
        return {room}.union(*map(reached, below.get(room, ())))

    rules = {
        name or "taxizer_async": {each or "taxizer_async" for each in may - {"_version"}}
        | {name or "taxizer_async"}
        for name, may in ROOMS.items()
        if name != "_version"
    }
    assert {room: reached(room) for room in rules} == rules
    assert rules.keys() <= set(_words("rooms"))
