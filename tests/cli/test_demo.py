"""The demo as real processes, side by side, as each takes ten seconds."""

from __future__ import annotations

import contextlib
import re
import signal

from collections.abc import Mapping

import httpx
import pytest

from taxizer_async._cli.demo.load import Counts
from taxizer_async._cli.demo.run import Summary
from taxizer_async._cli.demo.scenario import Phase, Progress
from taxizer_async.testing import SandboxCounters
from tests.support.families import PATIENCE

from .demos import Ran, finish, start, start_on_terminal


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo"), pytest.mark.timeout(300)]

#: The outage outlasts the demo, and logins give up after some seconds.
BROKEN = """
import functools, sys
from taxizer_async import RenewalPolicy
from taxizer_async._cli.demo import load, scenario
policy = RenewalPolicy(exchange_timeout=4.0)
load.TaxizerAuth = functools.partial(load.TaxizerAuth, policy=policy)
scenario.OUTAGE_ANSWERS = 99
from taxizer_async.__main__ import main
sys.exit(main())
"""

PLAIN = {
    "asyncio": ["-m", "taxizer_async", "demo", "--requests", "1000"],
    "trio": ["-m", "taxizer_async", "demo", "--requests", "200", "--backend", "trio"],
    "broken": ["-c", BROKEN, "demo", "--requests", "100"],
}


@pytest.fixture(name="demos", scope="module")
def _demos() -> Mapping[str, Ran]:
    with contextlib.ExitStack() as all_of_them:
        processes = {name: all_of_them.enter_context(start(*args)) for name, args in PLAIN.items()}
        finish_terminal = all_of_them.enter_context(start_on_terminal("demo", "--requests", "100"))
        ran = {name: finish(process) for name, process in processes.items()}
        ran["terminal"] = finish_terminal()
    return ran


@pytest.fixture(name="ran", params=["asyncio", "trio"])
def _ran(demos: Mapping[str, Ran], request: pytest.FixtureRequest) -> Ran:
    return demos[request.param]


def test_no_request_fails(ran: Ran) -> None:
    """The demo ends with no failed request, two logins, two renewals and exit code 0."""
    ran.check()


def test_all_requests_are_answered(demos: Mapping[str, Ran]) -> None:
    """The demo sends as many requests as it was told to."""
    assert demos["asyncio"].table["requests"] == "1,000"
    assert demos["asyncio"].lines("requests")[-1].startswith("1,000 of 1,000 done, 0 failed")
    assert demos["trio"].table["requests"] == "200"


def test_the_summary_has_latencies(ran: Ran) -> None:
    """Half of the requests take little longer than the sandbox; the slowest waited for the end of the outage."""
    p50, p99, own = (
        float(ran.table[name].removesuffix(" ms").replace(",", ""))
        for name in ("p50 latency", "p99 latency", "the sandbox's own part")
    )

    assert own <= p50
    assert p50 + 1500 < p99


def test_expiry_happens(ran: Ran) -> None:
    """The first token is renewed, and expires while requests are in flight."""
    renewed, expired = ran.lines("expiry")

    assert re.fullmatch(
        r"renewed with .* s left of the token, [1-9]\d* requests? in flight", renewed
    )
    assert re.match(
        r"the first token has expired, [1-9]\d* requests? in flight: 1 renewal", expired
    )


def test_revocation_happens(ran: Ran) -> None:
    """Requests in flight meet a 401 when the token is revoked, and one renewal serves them all."""
    revoked, settled = ran.lines("revocation")

    assert re.fullmatch(r"the token is revoked, [1-9]\d* requests? in flight", revoked)
    assert re.fullmatch(r"1 renewal, [1-9]\d* requests? met a 401 and went again", settled)


def test_outage_happens(ran: Ran) -> None:
    """The token endpoint answers 503 while requests wait for a token, and then they get one."""
    down, first, second, over = ran.lines("outage")

    assert "the login's endpoint is down" in down
    assert re.fullmatch(r"503 to login attempt 1, [1-9]\d* requests? wait for a token", first)
    assert re.fullmatch(r"503 to login attempt 2, [1-9]\d* requests? wait for a token", second)
    assert re.match(r"over after ([2-9]|\d\d)\.\d s: 1 login, [1-9]\d* requests? met a 401", over)


def test_plain_lines(ran: Ran) -> None:
    """Without a terminal nothing is drawn, and each tenth of the requests is a line."""
    assert "\x1b" not in ran.stdout
    assert "\r" not in ran.stdout
    assert len(ran.lines("requests")) == 10


def test_live_picture(demos: Mapping[str, Ran]) -> None:
    """On a terminal the demo draws its progress again and again, and ends with the same table."""
    ran = demos["terminal"]

    assert ran.code == 0
    assert ran.stdout.count("\x1b[2K") > 20
    for word in ("revocation", "outage", "failures"):
        assert word in ran.stdout


def test_failed_requests_fail_the_demo(demos: Mapping[str, Ran]) -> None:
    """Failed requests and an outage that never ends are reported on stderr, and the exit code is 1."""
    ran = demos["broken"]

    assert ran.code == 1
    assert ran.table["failures"] != "0"
    assert "failed: TokenEndpointUnavailableError" in ran.stderr
    assert "error: there was no outage to be seen\n" in ran.stderr
    assert all(line.startswith("error: ") for line in ran.stderr.splitlines())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_interrupt(backend: str) -> None:
    """Ctrl-C ends the demo at once, without a traceback, with the exit code of an interrupt."""
    # An interrupt may hit httpcore between a call and its await, which Python warns of.
    quiet = ("-W", "ignore:coroutine:RuntimeWarning")
    with start(*quiet, "-m", "taxizer_async", "demo", "--backend", backend) as process:
        assert process.stdout is not None
        assert "login" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)

        assert (process.returncode, stderr) == (130, "")


def test_page() -> None:
    """With --page the address of the sandbox's page comes first, and the page is served while the demo runs."""
    with start("-m", "taxizer_async", "demo", "--page", "--requests", "100") as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Watch it at ").strip()
        served = httpx.get(url, trust_env=False)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)

        assert "<h1>Taxizer sandbox</h1>" in served.text
        assert (process.returncode, stderr) == (130, "")


def summary(logins: int, *counts: Counts, missed: tuple[Phase, ...] = ()) -> Summary:
    progress = Progress(
        elapsed=1.0,
        requests=20,
        answered=20,
        failed=0,
        in_flight=0,
        counters=SandboxCounters(connects_ok=logins),
    )
    return Summary(progress=progress, counts=counts, missed=missed, latency=0.1)


def test_a_third_login_is_a_problem() -> None:
    """A summary with three logins says so."""
    problems = summary(3, missed=(Phase.EXPIRY,)).problems

    assert problems == ("3 logins in place of 2", "there was no expiry to be seen")


def test_failures_are_reported_once_per_reason() -> None:
    """Failures with the same reason in several processes are one problem; the most frequent comes first."""
    done = summary(
        2,
        Counts(answered=8, failures={"a": 1, "b": 1}, latencies=(0.1,) * 8 + (0.9,) * 2),
        Counts(answered=7, failures={"b": 3}, latencies=(0.2,) * 10),
    )

    assert done.problems == ("4 failed: b", "1 failed: a")
    assert (done.percentile(0.5), done.percentile(0.99)) == (0.2, 0.9)
