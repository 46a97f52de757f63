"""A real Chromium, the sandbox's page in it, and a service that uses the sandbox."""

from __future__ import annotations

import os
import shutil

from collections.abc import Iterator

import httpx
import pytest

from playwright.sync_api import Browser, expect, sync_playwright

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Sandbox

from .live_page import LivePage, OpenPage, Served


#: Milliseconds that the page may take to show what happened; the machine may be loaded.
_PATIENCE = 20_000


@pytest.fixture(name="browser", scope="session")
def _browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.fail("there is no chromium on PATH: install it, or set CHROMIUM to where it is")
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture(name="open_page")
def _open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages of sandboxes; none may throw, log an error or load anything from elsewhere."""
    opened: list[LivePage] = []

    def open_page(
        sandbox: Served, *, width: int = 1280, scheme: str = "light", motion: bool = True
    ) -> LivePage:
        page = browser.new_page(
            viewport={"width": width, "height": 800 if width > 600 else 844},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="no-preference" if motion else "reduce",
        )
        page.set_default_timeout(_PATIENCE)
        opened.append(LivePage(page, sandbox.base_url))
        return opened[-1]

    yield open_page
    for live in opened:
        live.page.close()
    assert [problem for live in opened for problem in live.problems] == []


@pytest.fixture(name="live")
def _live(open_page: OpenPage, sandbox: Sandbox) -> LivePage:
    return open_page(sandbox).load()


@pytest.fixture(name="service")
def _service(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A service that logs in at the sandbox."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    with httpx.Client(auth=auth, base_url=sandbox.base_url, trust_env=False) as client:
        yield client
