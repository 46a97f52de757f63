"""Who can use the page: with a keyboard only, with a screen reader, in any color scheme, without motion."""

from __future__ import annotations

import re

import httpx
import pytest

from playwright.sync_api import expect

from taxizer_async.testing import Fault, Sandbox

from .live_page import LivePage, OpenPage


OUTLINE = """
- banner:
  - heading "Taxizer sandbox" [level=1]
  - paragraph: Live
- main:
  - region /Token/:
    - heading /Token/ [level=2]
  - region "Controls":
    - button "Revoke"
    - button "Expire"
    - button "Outage"
    - button "Slow"
    - button "Reset"
    - status
  - region "Time line":
    - heading "Time line" [level=2]
    - group "Span":
      - radio "1 min" [checked]
      - radio "10 min"
      - radio "1 h"
    - img "The time line, drawn"
    - term: Faults
    - definition: none
    - term: Tokens
    - definition: 1 issued
    - term: Logins
    - definition: "1"
    - term: Renewals
    - definition: "0"
    - term: 401s
    - definition: "0"
    - term: Requests
    - definition: /per second/
    - paragraph: /In the last minute. 1 login, 0 renewals, 2 requests; 0 requests met a 401, 0 failed. Faults now. none./
  - region "Latest":
    - list:
      - listitem:
        - text: /Login/
- contentinfo:
  - paragraph:
    - link "Drive this over HTTP"
"""

#: Each text that is seen, with its color and that of the ground behind it.
TEXTS = """() => {
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  return [...document.querySelectorAll("body *")]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .map((element) => [element.textContent.trim(), getComputedStyle(element).color, ground(element)]);
}"""


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_screen_reader_finds_all(live: LivePage, service: httpx.Client) -> None:
    """Landmarks, headings, controls and values have their roles and names, and words say what is drawn."""
    service.get("/v1/Invoices")
    expect(live.value("Logins")).to_have_text("1")

    expect(live.page.locator("body")).to_match_aria_snapshot(OUTLINE)
    expect(live.button("Slow")).to_have_accessible_description("take 2 s to answer")
    expect(live.page.get_by_role("img")).to_have_accessible_description(
        re.compile("In the last minute: 1 login")
    )


def test_requests_are_not_announced_one_by_one(
    live: LivePage, sandbox: Sandbox, service: httpx.Client
) -> None:
    """What is announced of the traffic is a summary: two hundred 401s change the live region once at most."""
    live.page.evaluate(
        """() => {
          window.announced = 0;
          const count = () => { window.announced += 1; };
          for (const region of document.querySelectorAll("[aria-live], [role=status]"))
            new MutationObserver(count).observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    sandbox.fail("resource", Fault.unauthorized())
    for _ in range(200):
        service.get("/v1/Invoices", auth=None)

    expect(live.value("401s")).to_have_text("200")
    assert live.page.evaluate("window.announced") <= 1


def test_the_summary_is_announced(live: LivePage, service: httpx.Client) -> None:
    """After a while the live region tells what was new."""
    digest = live.page.locator("[aria-live=polite]")
    service.get("/v1/Invoices")

    expect(digest).to_contain_text("1 login", timeout=40_000)


def test_keyboard(live: LivePage, service: httpx.Client) -> None:
    """Tab reaches all in the order in which it is read, focus is seen, and space, enter and arrows work."""
    service.get("/v1/Invoices")
    keyboard = live.page.keyboard
    reached: list[str] = []
    for _ in range(7):
        keyboard.press("Tab")
        focused = live.page.locator(":focus")
        ring = focused.locator("xpath=..") if focused.get_attribute("type") == "radio" else focused
        style, width = ring.evaluate(
            "(each) => [getComputedStyle(each).outlineStyle, getComputedStyle(each).outlineWidth]"
        )
        assert (style, width) == ("solid", "2px")
        reached.append(focused.evaluate("(each) => each.id || each.value || each.href"))

    assert reached[:6] == ["revoke", "expire", "outage", "slow", "reset", "60"]
    assert reached[6].endswith("/_sandbox/openapi.json")

    keyboard.press("Shift+Tab")
    keyboard.press("ArrowRight")
    expect(live.page.get_by_role("radio", name="10 min")).to_be_checked()
    expect(live.summary).to_contain_text("In the last ten minutes: 1 login")
    live.button("Revoke").focus()
    keyboard.press("Enter")
    expect(live.life).to_have_text("Revoked")
    for _ in range(2):
        keyboard.press("Tab")
    keyboard.press("Space")
    expect(live.button("Outage")).to_have_attribute("aria-pressed", "true")
    keyboard.press("Space")
    expect(live.button("Outage")).to_have_attribute("aria-pressed", "false")
    expect(live.button("Outage")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(
    open_page: OpenPage, sandbox: Sandbox, service: httpx.Client, scheme: str
) -> None:
    """Each text has a contrast of 4.5 to its ground, that of a pressed button included."""
    live = open_page(sandbox, scheme=scheme).load()
    service.get("/v1/Invoices")
    live.button("Outage").click()
    expect(live.button("Outage")).to_have_attribute("aria-pressed", "true")
    live.page.mouse.move(0, 0)

    texts = live.page.evaluate(TEXTS)
    assert len(texts) > 30
    assert [text for text in texts if contrast(*text[1:]) < 4.5] == []


def test_what_is_drawn_stands_out(open_page: OpenPage, sandbox: Sandbox) -> None:
    """Each color that means something has a contrast of 3 to the ground."""
    for scheme in ("light", "dark"):
        live = open_page(sandbox, scheme=scheme).load()
        for name in ("ink", "bar", "accent", "muted"):
            colors = live.page.evaluate(
                """(name) => ["color", "backgroundColor"].map((property, i) => {
                  document.body.style[property] = `var(--${i ? "ground" : name})`;
                  return getComputedStyle(document.body)[property];
                })""",
                name,
            )
            assert contrast(*colors) >= 3


@pytest.mark.parametrize("motion", [True, False])
def test_motion(open_page: OpenPage, sandbox: Sandbox, motion: bool) -> None:
    """The line glides; for those who asked for less motion it moves once a second."""
    live = open_page(sandbox, motion=motion)
    live.page.add_init_script(
        """const clear = CanvasRenderingContext2D.prototype.clearRect;
           window.drawings = 0;
           CanvasRenderingContext2D.prototype.clearRect = function (...box) {
             window.drawings += 1;
             clear.apply(this, box);
           };"""
    )
    live.page.clock.install()
    live.load()
    live.page.clock.pause_at(live.page.evaluate("Date.now() + 1000"))
    before = live.page.evaluate("window.drawings")
    live.page.clock.run_for(10_000)
    drawings = live.page.evaluate("window.drawings") - before

    assert drawings >= 100 if motion else 8 <= drawings <= 12
