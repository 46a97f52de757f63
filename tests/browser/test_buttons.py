"""Each button, at two widths and in two color schemes: what it does to the sandbox, and what is drawn."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from playwright.sync_api import expect

from taxizer_async.testing import Fault, Sandbox

from .live_page import LivePage, OpenPage


VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(name="live", params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def _live(request: pytest.FixtureRequest, open_page: OpenPage, sandbox: Sandbox) -> LivePage:
    width, scheme = request.param
    return open_page(sandbox, width=width, scheme=scheme).load()


def ask(sandbox: Sandbox, service: httpx.Client) -> int:
    """Ask with the newest token, without renewing it."""
    headers = {"Authorization": f"Bearer {sandbox.issued_jwts[-1]}"}
    return service.get("/v1/Invoices", headers=headers, auth=None).status_code


def test_a_login_and_its_token_are_shown(live: LivePage, service: httpx.Client) -> None:
    """The first request shows a login, a token that counts down, and a bar."""
    expect(live.life).to_have_text("None")
    assert live.drawn("logins", "accent") == 0

    service.get("/v1/Invoices")

    expect(live.life).to_have_text(re.compile(r"^1[45]:\d\d$"))
    expect(live.value("Logins")).to_have_text("1")
    expect(live.latest).to_contain_text("Login: token 1, for 15:00")
    live.wait_until_drawn("logins", "accent")
    live.wait_until_drawn("tokens", "accent")
    live.wait_until_drawn("requests", "bar")


def test_revoke(live: LivePage, sandbox: Sandbox, service: httpx.Client) -> None:
    """Revoke refuses the token; the 401 and the renewal that follow are drawn."""
    service.get("/v1/Invoices")
    live.button("Revoke").click()

    expect(live.note).to_contain_text("Revoked")
    expect(live.life).to_have_text("Revoked")
    live.wait_until_drawn("faults", "ink")
    assert ask(sandbox, service) == 401
    live.wait_until_drawn("refused", "ink")

    assert service.get("/v1/Invoices").status_code == 200
    expect(live.value("Renewals")).to_have_text("1")
    expect(live.value("401s")).to_have_text("2")
    live.wait_until_drawn("renewals", "accent")


def test_expire(live: LivePage, sandbox: Sandbox, service: httpx.Client) -> None:
    """Expire ends the token."""
    service.get("/v1/Invoices")
    live.button("Expire").click()

    expect(live.life).to_have_text("Expired")
    expect(live.latest).to_contain_text("Expired: all tokens")
    live.wait_until_drawn("faults", "ink")
    live.wait_until_drawn("tokens", "ink")
    assert ask(sandbox, service) == 401


def test_outage(live: LivePage, sandbox: Sandbox, service: httpx.Client) -> None:
    """Outage answers 503 until it is pressed again, and draws a band for as long."""
    service.get("/v1/Invoices")
    outage = live.button("Outage")
    expect(outage).to_have_attribute("aria-pressed", "false")
    outage.click()

    expect(outage).to_have_attribute("aria-pressed", "true")
    expect(live.value("Faults")).to_have_text("503 everywhere")
    assert ask(sandbox, service) == 503
    live.wait_until_drawn("faults", "ink")
    live.wait_until_drawn("renewals", "band")
    expect(live.latest).to_contain_text("503 for /v1/Invoices")

    outage.click()

    expect(outage).to_have_attribute("aria-pressed", "false")
    expect(live.value("Faults")).to_have_text("none")
    assert ask(sandbox, service) == 200


def test_slow(live: LivePage, sandbox: Sandbox, service: httpx.Client) -> None:
    """Slow delays each answer until it is pressed again; then each takes as long as before."""
    sandbox.resource_latency = 0.1
    service.get("/v1/Invoices")
    expect(live.value("Logins")).to_have_text("1")
    live.button("Slow").click()

    expect(live.value("Faults")).to_have_text("slow: 2 s")
    began = time.monotonic()
    assert ask(sandbox, service) == 200
    assert time.monotonic() - began >= 2
    live.wait_until_drawn("faults", "ink")

    live.button("Slow").click()

    expect(live.value("Faults")).to_have_text("none")
    assert (sandbox.connect_latency, sandbox.resource_latency) == (0.0, 0.1)


def test_reset(live: LivePage, sandbox: Sandbox, service: httpx.Client) -> None:
    """Reset heals all, and sets settings and counters back; the token stays good."""
    service.get("/v1/Invoices")
    sandbox.fail("resource", Fault.hang())
    sandbox.lifetime = 7
    expect(live.value("Faults")).to_have_text("no answer at resource")
    live.button("Reset").click()

    expect(live.value("Faults")).to_have_text("none")
    expect(live.value("Logins")).to_have_text("0")
    assert sandbox.lifetime == 900
    assert ask(sandbox, service) == 200


def test_a_failed_renewal_is_drawn_as_a_cross(
    live: LivePage, sandbox: Sandbox, service: httpx.Client
) -> None:
    """A fault of two requests ends after two, and a failed renewal looks unlike a good one."""
    service.get("/v1/Invoices")
    sandbox.fail("refresh", Fault.status(503), times=1)
    sandbox.revoke()
    service.get("/v1/Invoices")

    expect(live.value("Renewals")).to_have_text("0, 1 failed")
    expect(live.value("Faults")).to_have_text("none")
    live.wait_until_drawn("renewals", "ink")
    assert live.drawn("renewals", "accent") == 0


def test_it_fits(live: LivePage, service: httpx.Client) -> None:
    """Nothing is wider than the page, buttons are large enough for a finger, and a desktop needs no scrolling."""
    service.get("/v1/Invoices")
    expect(live.value("Logins")).to_have_text("1")
    width, height, view_width, view_height = live.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight, innerWidth, innerHeight]"
    )

    assert width <= view_width
    assert height <= view_height or view_width < 600
    for button in live.page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
