"""The page does not grow: not with ten thousand requests, and not in an hour."""

from __future__ import annotations

import http.client
import threading

import attrs

from playwright.sync_api import expect

from taxizer_async.testing import Sandbox

from .live_page import LivePage, OpenPage


SENDERS = 4
#: Bytes that the heap may vary by after a collection: code that was compiled, and caches of the engine.
SLACK = 300_000
#: Nodes: words that come and go.
FEW = 10

#: Ten seconds of everything.
TRAFFIC = """
window.traffic = (at) => {
  const request = { at, method: "POST", path: "/v1/Invoices", status: 200, ok: true, seconds: 0.01, fault: null, token: 1, ends_at: null };
  const token = window.number;
  window.tell("login", { ...request, token, ends_at: at + 60 });
  window.tell("renewal", { ...request, ok: false, status: 503, token: null });
  window.tell("unauthorized", { ...request, status: 401, ok: false, token });
  window.tell("fail", { at, where: "connect", fault: "answer", code: 503, times: null });
  window.tell("heal", { at: at + 1, where: null });
  window.tell("revoke", { at: at + 1, tokens: "jwts" });
  for (let i = 0; i < 2; i++) window.tell("request", { ...request, token });
};
"""


@attrs.frozen
class Size:
    heap: float
    nodes: int
    listeners: int

    @classmethod
    def of(cls, live: LivePage) -> Size:
        """Measure the page after a garbage collection."""
        session = live.page.context.new_cdp_session(live.page)
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"]
        counts = session.send("Memory.getDOMCounters")
        session.detach()
        return cls(heap, counts["nodes"], counts["jsEventListeners"])

    def check_growth(self, later: Size) -> None:
        assert later.heap - self.heap < SLACK
        assert later.nodes - self.nodes <= FEW
        assert later.listeners <= self.listeners


def send(sandbox: Sandbox, number: int) -> None:
    """Send *number* requests over a few connections."""

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port)
        for _ in range(number // SENDERS):
            connection.request("GET", "/v1/Invoices")
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_ten_thousand_requests(live: LivePage, sandbox: Sandbox) -> None:
    """Ten thousand events leave the page as large as it was, and all of them are counted."""
    send(sandbox, 2_000)
    expect(live.value("401s")).to_have_text("2,000")
    before = Size.of(live)
    send(sandbox, 10_000)
    expect(live.value("401s")).to_have_text("12,000")

    before.check_growth(Size.of(live))
    live.page.get_by_text("10 min").click()
    expect(live.summary).to_contain_text("12,000 requests; 12,000 requests met a 401")


def test_an_hour(open_page: OpenPage, sandbox: Sandbox) -> None:
    """An hour of traffic leaves the page as large as its bounds made it, and shows all of the hour."""
    live = open_page(sandbox)
    live.page.add_init_script(TRAFFIC)
    start = live.load_scripted()
    # Until all that is bounded is full.
    live.page.evaluate("(at) => { for (let i = 0; i < 1200; i++) traffic(at); }", start)
    live.page.clock.run_for(1_000)
    before = Size.of(live)
    for elapsed in range(10, 3_600, 10):
        live.page.evaluate("(at) => { for (let i = 0; i < 30; i++) traffic(at); }", start + elapsed)
        live.page.clock.fast_forward(10_000)
    after = Size.of(live)

    before.check_growth(after)
    live.page.get_by_text("1 h").click()
    live.page.clock.run_for(1_000)
    expect(live.summary).to_contain_text(
        "53,850 requests; 10,770 requests met a 401, 10,770 failed"
    )
