"""What the page says when its sandbox goes, comes back, or is another one."""

from __future__ import annotations

import httpx

from playwright.sync_api import expect

from taxizer_async.testing import Sandbox

from .live_page import LivePage, OpenPage


def test_the_same_sandbox_comes_back(
    live: LivePage, sandbox: Sandbox, service: httpx.Client
) -> None:
    """A page whose sandbox is gone says so and stands still; it goes on by itself when the sandbox is back."""
    service.get("/v1/Invoices")
    expect(live.value("Logins")).to_have_text("1")
    sandbox.stop()

    expect(live.connection).to_have_text("Not connected, trying again")
    expect(live.note).to_contain_text("The sandbox has not answered since")
    stopped = live.life.text_content()

    sandbox.start()

    expect(live.connection).to_have_text("Live")
    expect(live.note).to_have_text("Connected again.")
    expect(live.value("Logins")).to_have_text("1")
    expect(live.life).not_to_have_text(stopped or "")
    expect(live.latest.get_by_role("listitem")).to_have_count(1)


def test_a_button_tells_that_nothing_answers(live: LivePage, sandbox: Sandbox) -> None:
    """A button that could not do its work says so."""
    sandbox.stop()
    expect(live.connection).to_have_text("Not connected, trying again")
    live.button("Revoke").click()

    expect(live.note).to_have_text("The sandbox does not answer.")


def test_another_sandbox_starts_a_new_line(open_page: OpenPage) -> None:
    """When another sandbox answers at the address, the page says so and forgets the earlier one."""
    with Sandbox() as first:
        live = open_page(first).load()
        httpx.get(f"{first.base_url}/v1/Invoices", trust_env=False)
        expect(live.value("401s")).to_have_text("1")
    with Sandbox(port=first.port):
        expect(live.note).to_have_text("The sandbox was started anew, and so is the time line.")
        expect(live.value("401s")).to_have_text("0")
        expect(live.latest).to_be_hidden()


def test_a_page_that_is_opened_late_shows_what_was(
    open_page: OpenPage, sandbox: Sandbox, service: httpx.Client
) -> None:
    """The page shows what happened before it was opened, and each event once."""
    service.get("/v1/Invoices")
    sandbox.revoke()
    service.get("/v1/Invoices")
    live = open_page(sandbox).load()

    expect(live.summary).to_contain_text("1 login, 1 renewal, 5 requests; 1 request met a 401")
    live.page.reload()
    expect(live.summary).to_contain_text("1 login, 1 renewal, 5 requests; 1 request met a 401")
    live.wait_until_drawn("renewals", "accent")


def test_a_page_that_was_turned_away_asks_again(
    live: LivePage, sandbox: Sandbox, service: httpx.Client
) -> None:
    """A page whose stream was refused, as when too many read, asks again and counts each event once."""
    service.get("/v1/Invoices")
    expect(live.summary).to_contain_text("1 login, 0 renewals, 2 requests")
    live.page.route("**/_sandbox/events", lambda route: route.fulfill(status=503))
    sandbox.stop()
    sandbox.start()
    live.page.wait_for_event("response", lambda answer: answer.status == 503)
    live.page.unroute("**/_sandbox/events")

    expect(live.connection).to_have_text("Live")
    expect(live.note).to_have_text("Connected again.")
    expect(live.summary).to_contain_text("1 login, 0 renewals, 2 requests")
    live.problems.clear()


def test_a_fault_that_was_used_up_ended_then(open_page: OpenPage, sandbox: Sandbox) -> None:
    """A fault of one request ends with that request, also on a page that hears of both later."""
    live = open_page(sandbox)
    start = live.load_scripted()
    request = {"method": "POST", "path": "/v1/Auth/Connect", "status": 503, "ok": False}
    login = request | {"seconds": 0.01, "fault": "answer", "token": None, "ends_at": None}
    fault = {"where": "connect", "fault": "answer", "code": 503, "times": 1}
    live.tell("fail", fault | {"at": start - 40})
    live.tell("login", login | {"at": start - 39})
    live.page.clock.run_for(1_000)

    expect(live.value("Faults")).to_have_text("none")
    # A bar of one second is three pixels high, and 14 wide.
    assert 0 < live.drawn("faults", "ink") < 800
