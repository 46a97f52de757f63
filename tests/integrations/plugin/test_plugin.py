"""The pytest plugin in separate runs of pytest, as users have it."""

from __future__ import annotations

import os
import socket
import sys

from urllib.parse import urlsplit

import pytest


#: A service's test of three things: the credentials, a login through an outage, and an expiry.
EXCHANGE = """
import httpx

from taxizer_async.testing import Fault


async def test_a_service(taxizer_sandbox, taxizer_credentials, taxizer_auth, taxizer_clock):
    assert taxizer_credentials.client_id == taxizer_sandbox.client_id
    taxizer_sandbox.fail("connect", Fault.status(503), times=2)
    async with httpx.AsyncClient(auth=taxizer_auth, base_url=taxizer_sandbox.base_url) as client:
        for _ in range(2):
            response = await client.post("/v1/Invoices/GenerateInvoice", json={})
            assert response.status_code == 200
            taxizer_clock.advance(taxizer_sandbox.lifetime)
    assert taxizer_sandbox.counters.connects == 3
    assert taxizer_sandbox.counters.refreshes == 1
"""
#: pytest-asyncio warns when it is not configured.
STRICT = ("-W", "error", "-p", "no:asyncio")
LOOPS = {
    "anyio": ("[pytest]\nanyio_mode = auto", "-p no:asyncio -p no:trio", 2),
    "pytest-asyncio": ("[pytest]\nasyncio_mode = auto", "-p no:anyio -p no:trio", 1),
    "pytest-trio": ("[pytest]\ntrio_mode = true", "-p no:anyio -p no:asyncio", 1),
}


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in the runs, as it would start before the plugins."""
    for name in list(os.environ):
        if name.startswith(("COVERAGE_", "PYTEST_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("plugin", LOOPS)
def test_event_loops(pytester: pytest.Pytester, plugin: str) -> None:
    """The fixtures serve tests on every event loop, with warnings as errors."""
    settings, arguments, tests = LOOPS[plugin]
    if plugin == "pytest-asyncio":
        settings += "\nasyncio_default_fixture_loop_scope = function"
    pytester.makeini(settings)
    pytester.makepyfile(EXCHANGE)
    result = pytester.runpytest_subprocess("-W", "error", *arguments.split())

    result.assert_outcomes(passed=tests)


@pytest.mark.slow
def test_many_processes_in_any_order(pytester: pytest.Pytester) -> None:
    """Under xdist and pytest-randomly each test has its own sandbox."""
    pytester.makepyfile(
        """
        import pytest
        import anyio

        @pytest.mark.parametrize("number", range(1, 9))
        def test_counts(taxizer_sandbox, taxizer_auth, number):
            assert taxizer_sandbox.counters.connects == 0
            for _ in range(number):
                anyio.run(taxizer_auth.token)
                taxizer_sandbox.revoke()
            assert taxizer_sandbox.counters.connects == 1
        """
    )
    result = pytester.runpytest_subprocess(*STRICT, "-n", "2")

    result.assert_outcomes(passed=8)


def test_the_sandbox_ends_with_its_test(pytester: pytest.Pytester) -> None:
    """A test that fails leaves no server behind."""
    pytester.makepyfile(
        """
        import pathlib
        import urllib.request

        def test_fails(taxizer_sandbox):
            pathlib.Path("url").write_text(taxizer_sandbox.base_url)
            assert taxizer_sandbox is None

        def test_is_gone():
            url = pathlib.Path("url").read_text()
            try:
                urllib.request.urlopen(url)
            except OSError as error:
                assert "refused" in str(error)
            else:
                raise AssertionError
        """
    )
    result = pytester.runpytest_subprocess(*STRICT, "-p", "no:randomly")

    result.assert_outcomes(failed=1, passed=1)
    url = urlsplit((pytester.path / "url").read_text())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", url.port or 0)).close()


def test_a_fixture_can_be_overridden(pytester: pytest.Pytester) -> None:
    """The auth uses an overridden sandbox or clock."""
    pytester.makeconftest(
        """
        import pytest
        from taxizer_async.testing import ManualClock, Sandbox

        @pytest.fixture
        def taxizer_sandbox():
            with Sandbox(lifetime=60, client_id="mine") as sandbox:
                yield sandbox

        @pytest.fixture
        def taxizer_clock():
            return ManualClock(start=1_700_000_000)
        """
    )
    pytester.makepyfile(
        """
        import anyio

        def test_it(taxizer_auth, taxizer_credentials, taxizer_clock):
            anyio.run(taxizer_auth.token)
            assert taxizer_credentials.client_id == "mine"
            assert 50 < taxizer_auth.status().expires_in < 70
            taxizer_clock.advance(70)
            assert not taxizer_auth.status().usable
        """
    )
    result = pytester.runpytest_subprocess(*STRICT)

    result.assert_outcomes(passed=1)


def test_a_run_without_fixtures_pays_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that uses none of the fixtures loads only the plugin's file."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        """
        import sys

        def test_nothing_was_loaded():
            assert "pytest_taxizer_async" in sys.modules
            heavy = {"taxizer_async", "httpx", "attr", "cattrs", "anyio", "uvicorn", "asyncio"}
            assert not heavy & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "-p", "pytest_taxizer_async")

    result.assert_outcomes(passed=1)


def test_it_is_found_by_itself(pytester: pytest.Pytester) -> None:
    """The plugin needs no configuration, and `pytest --fixtures` describes each fixture."""
    result = pytester.runpytest_subprocess("--fixtures", *STRICT)

    listed = result.stdout.str()
    for name in ("taxizer_sandbox", "taxizer_credentials", "taxizer_clock", "taxizer_auth"):
        _, found, text = listed.partition(f"\n{name} -- ")
        assert found
        assert "no docstring" not in text[:200]


def test_without_the_extra(pytester: pytest.Pytester) -> None:
    """Only a test that uses the sandbox fails for the missing extra, and names it."""
    pytester.makeconftest("import sys\nsys.modules['uvicorn'] = None")
    pytester.makepyfile(
        """
        def test_others_run():
            pass

        def test_asks(taxizer_auth):
            raise AssertionError
        """
    )
    result = pytester.runpytest_subprocess(*STRICT, "-p", "no:randomly")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(['*pip install "taxizer-async?sandbox?"*'])


def test_coverage_is_whole(pytester: pytest.Pytester) -> None:
    """The coverage of a service misses no line that ran too early."""
    pytester.makepyfile(
        service="import taxizer_async\n\n\ndef name() -> str:\n    return taxizer_async.__name__\n",
        test_service="import service\n\n\ndef test_it(taxizer_auth):\n    assert service.name()\n",
    )
    measure = (sys.executable, "-W", "error", "-m", "coverage")
    ran = pytester.run(*measure, "run", "--source=service,taxizer_async", "-m", "pytest", *STRICT)
    assert ran.ret == 0
    assert "CoverageWarning" not in ran.stderr.str()
    report = pytester.run(*measure, "report", "--include=service.py", "--fail-under=100")

    assert report.ret == 0
