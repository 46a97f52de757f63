"""
The picture of the page in the documentation: `python -m tests.browser.screenshot` takes it anew.

It uses a sandbox for 50 s, through a revocation and an outage, with a Chromium as the tests do.
"""

from __future__ import annotations

import os
import shutil
import threading
import time

from typing import Final

from playwright.sync_api import sync_playwright

from taxizer_async import SyncTaxizerClient
from taxizer_async.invoices import submit_signed_xml
from taxizer_async.testing import Fault, Sandbox
from tests.documents.pages import ROOT


_SECONDS: Final = 50
_WIDTH: Final = 480


def _use(sandbox: Sandbox) -> None:
    """Submit invoices, the more the later, and have things go wrong."""
    for after, act in (
        (15.0, sandbox.revoke),
        (28.0, lambda: sandbox.fail("connect", Fault.status(503))),
        (28.0, lambda: sandbox.fail("refresh", Fault.status(503))),
        (30.0, sandbox.expire),
        (34.0, sandbox.heal),
    ):
        threading.Timer(after, act).start()
    began = time.monotonic()
    with SyncTaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        while (elapsed := time.monotonic() - began) < _SECONDS:
            submit_signed_xml(
                client,
                uuid="8e6000cf-1a98-4174-b3e7-b5d5954bc10d",
                device_id="3fa85f64-5717-4562-b3fc-2c963f66afa6",
                invoice_number="INV-1",
                xml=b"<Invoice/>",
            )
            time.sleep(0.2 - elapsed / 400)


def main() -> None:
    """Replace the pictures for light and for dark pages."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    options = os.environ.get("CHROMIUM_OPTIONS", "").split()
    with Sandbox(lifetime=16) as sandbox, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        pages = {
            "light": browser.new_page(color_scheme="light", device_scale_factor=1.5),
            "dark": browser.new_page(color_scheme="dark", device_scale_factor=1.5),
        }
        for page in pages.values():
            page.set_viewport_size({"width": _WIDTH, "height": 1200})
            page.goto(sandbox.base_url)
        _use(sandbox)
        for scheme, page in pages.items():
            summary = page.locator("#summary").bounding_box()
            assert summary is not None
            page.screenshot(
                path=ROOT / "docs" / "assets" / f"sandbox-{scheme}.png",
                clip={"x": 0, "y": 0, "width": _WIDTH, "height": summary["y"]},
            )


if __name__ == "__main__":
    main()
