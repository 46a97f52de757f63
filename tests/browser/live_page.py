"""The sandbox's page as a test sees it: its words, and what is drawn in each lane of the time line."""

from __future__ import annotations

import time

from collections.abc import Mapping
from typing import Protocol

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect


#: Counts the pixels of a lane that have the color of a CSS variable, but for those near the line that is now.
_COUNT = """([lane, color]) => {
  const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d");
  const all = canvas.getBoundingClientRect(), ratio = canvas.width / all.width;
  const box = document.querySelector(`[data-track=${lane}]`).getBoundingClientRect();
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${color}`).trim();
  const saved = pen.fillStyle;
  pen.fillStyle = value;
  const wanted = pen.fillStyle.match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
  pen.fillStyle = saved;
  const [x, y, width, height] = [box.left - all.left, box.top - all.top, box.width, box.height]
    .map((each) => Math.round(each * ratio));
  const { data } = pen.getImageData(x, y, width, height);
  const now = width * 5 / 6;
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    const near = wanted.every((part, k) => Math.abs(data[i + k] - part) < 3);
    if (near && data[i + 3] > 250 && Math.abs((i / 4) % width - now) > 4) count += 1;
  }
  return count;
}"""


#: Replaces the stream of the sandbox with one that the test writes.
SCRIPTED = """
window.EventSource = class extends EventTarget { constructor() { super(); window.source = this; } };
window.number = 0;
window.tell = (kind, data) => {
  const id = kind === "state" ? "" : `00000000-${++window.number}`;
  window.source.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data), lastEventId: id }));
};
"""


class LivePage:
    """A *page* at the *url* of a sandbox, and the problems that it had."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self._url = url
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._note_request)

    def load(self) -> LivePage:
        self.page.goto(f"{self._url}/")
        expect(self.connection).to_have_text("Live")
        return self

    def load_scripted(self) -> float:
        """Load it with a clock and a stream of the test's own; return the time on that clock."""
        self.page.add_init_script(SCRIPTED)
        self.page.clock.install(time=time.time())
        self.page.goto(f"{self._url}/")
        start = float(self.page.evaluate("Date.now() / 1000"))
        state = self.page.evaluate("fetch('/_sandbox/state').then((answer) => answer.json())")
        self.tell("state", state | {"at": start})
        return start

    def tell(self, kind: str, fields: Mapping[str, object]) -> None:
        """Send an event on the test's stream."""
        self.page.evaluate("([kind, fields]) => tell(kind, fields)", [kind, fields])

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def connection(self) -> Locator:
        return self.page.locator("#connection b")

    @property
    def life(self) -> Locator:
        return self.page.locator("#life")

    @property
    def note(self) -> Locator:
        return self.page.get_by_role("status")

    @property
    def summary(self) -> Locator:
        return self.page.locator("#summary")

    @property
    def latest(self) -> Locator:
        return self.page.locator("#latest")

    def value(self, name: str) -> Locator:
        """The value beside the label of a lane."""
        return self.page.locator("dl > div", has=self.page.get_by_text(name, exact=True)).locator(
            "dd:not(.track)"
        )

    def drawn(self, lane: str, color: str) -> int:
        """Return how many pixels of *lane* have a *color* now."""
        return int(self.page.evaluate(_COUNT, [lane, color]))

    def wait_until_drawn(self, lane: str, color: str) -> None:
        """Wait until something in *lane* has that *color*."""
        self.page.wait_for_function(f"(at) => ({_COUNT})(at) > 0", arg=[lane, color])

    def _note_console(self, message: ConsoleMessage) -> None:
        # A sandbox that is gone is what some tests are about.
        if message.type == "error" and "net::ERR_" not in message.text:
            self.problems.append(message.text)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith(self._url):
            self.problems.append(f"it asked for {request.url}")


class Served(Protocol):
    """A sandbox, or the address of one in another process."""

    @property
    def base_url(self) -> str: ...


class OpenPage(Protocol):
    def __call__(
        self, sandbox: Served, *, width: int = 1280, scheme: str = "light", motion: bool = True
    ) -> LivePage: ...
