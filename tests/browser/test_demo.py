"""The demo on its page."""

from __future__ import annotations

import subprocess
import sys

import attrs

from playwright.sync_api import expect

from tests.support import families
from tests.support.families import PATIENCE

from .live_page import OpenPage


@attrs.frozen
class Address:
    base_url: str


def test_the_demo_is_shown_while_it_runs(open_page: OpenPage) -> None:
    """The page of `demo --page` shows its phases, and keeps the picture when the demo has ended."""
    command = [sys.executable, "-m", "taxizer_async", "demo", "--page", "--requests", "200"]
    with families.running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Watch it at ").strip().rstrip("/")
        live = open_page(Address(url)).load()
        expect(live.value("Logins")).to_have_text("1")
        live.wait_until_drawn("logins", "accent")
        expect(live.latest).to_contain_text("Revoked: all tokens")
        live.wait_until_drawn("refused", "ink")
        expect(live.value("Faults")).to_have_text("503 at connect")
        live.wait_until_drawn("logins", "ink")
        process.stdout.read()
        assert process.wait(PATIENCE) == 0

        expect(live.connection).to_have_text("Not connected, trying again")
        expect(live.value("Logins")).to_have_text("2, 2 failed")
        assert live.drawn("renewals", "accent") > 0
