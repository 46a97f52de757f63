"""The recording of the demo."""

from __future__ import annotations

import re

from benchmarks.recording import ASSETS, draw
from taxizer_async._cli.demo.scenario import Phase


OUTPUT = """\
  0.9 s  login       1 for 20 requests, in 0.8 s; the token lives 4 s
  2.4 s  requests    2 of 20 done, 0 failed, 18 in flight
 10.0 s  outage      all tokens are revoked & the login's endpoint is down, 50 requests in flight
     taxizer-async demo
┌──────────┬──────────┐
│ failures │        0 │
│ p50      │   560 ms │
└──────────┴──────────┘
"""


def _words(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def test_what_was_printed_is_drawn_in_order() -> None:
    """Each step has its time and its text in lines that fit, and the summary follows."""
    words = [word.replace("&#x27;", "'") for word in _words(draw(OUTPUT))]

    assert words == [
        "$ taxizer-async demo",
        *("0.9 s", "login", "1 for 20 requests, in 0.8 s; the token", "lives 4 s"),
        *("10.0 s", "outage", "all tokens are revoked &amp; the login's"),
        "endpoint is down, 50 requests in flight",
        *("failures", "0", "p50", "560 ms"),
    ]


def test_steps_appear_when_they_happened() -> None:
    """The picture plays four times as fast as the run."""
    assert re.findall(r"delay: ([\d.]+)s", draw(OUTPUT)) == ["0.23", "2.50", "2.75"]


def test_the_recording_is_of_a_whole_run() -> None:
    """The picture in the documentation has each phase of the demo, and no failure."""
    words = _words((ASSETS / "demo.svg").read_text("utf-8"))

    assert {phase.value for phase in Phase} <= set(words)
    assert words[words.index("failures") + 1] == "0"
