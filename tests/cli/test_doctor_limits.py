"""No check of `doctor` takes the others along: not one that hangs, and not one that crashes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import pytest

from taxizer_async import ConfigurationError, Credentials, Secret
from taxizer_async._cli.doctor import local_checks
from taxizer_async._cli.doctor.case import Case
from taxizer_async._cli.doctor.findings import Finding, State, exit_code
from taxizer_async._cli.doctor.runner import CHECKS, Check, examine
from taxizer_async._cli.store_config import StoreConfig, StoreKind
from taxizer_async.stores._private_directory import PrivateDirectory
from taxizer_async.testing import Sandbox
from tests.support.limits import HANG
from tests.support.raw_server import RawServer, hang

from .conftest import CANARY, Run, error_of, run_python, secrets_of


LIMIT = 0.5


def case_of(base_url: str, *, seconds: float = LIMIT) -> Case:
    return Case(base_url=base_url, store=StoreConfig(kind=StoreKind.MEMORY), seconds=seconds)


async def findings(case: Case, checks: Iterable[Check]) -> list[Finding]:
    return [each async for each in examine(case, checks)]


async def sound(_: Case) -> Finding:
    return Finding(State.OK, "sound")


async def check_hangs(name: str, case: Case) -> None:
    """Check that the check *name* is given up after its time, and that one after it is made."""
    (check,) = (attrs.evolve(each, needs=()) for each in CHECKS if each.name == name)
    began = time.monotonic()
    hung, after = await findings(case, [check, Check("after", sound)])

    assert hung == Finding(State.UNAVAILABLE, f"no result within {LIMIT} s", check.advice, name)
    assert LIMIT <= time.monotonic() - began < HANG
    assert after.state is State.OK


@pytest.fixture(name="blocked")
def _blocked() -> Iterator[Callable[..., Any]]:
    """A call that hangs until the end of the test."""
    ended = threading.Event()
    yield lambda *_, **__: ended.wait()
    ended.set()


@pytest.fixture(name="silent")
def _silent() -> Iterator[RawServer]:
    with RawServer((hang,)) as server:
        yield server


@pytest.fixture(name="account")
def _account(account: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    return account


async def test_a_healthy_set_up(sandbox: Sandbox, account: dict[str, str]) -> None:
    """Of a healthy set-up each check finds that it is, on any event loop."""
    found = await findings(case_of(sandbox.base_url, seconds=HANG), CHECKS)

    assert [each.name for each in found] == [check.name for check in CHECKS]
    assert {each.name: each.state for each in found if each.state is not State.OK} == {
        "store": State.SKIPPED
    }
    assert not [secret for secret in secrets_of(sandbox) if secret in repr(found)]
    assert account["TAXIZER_CLIENT_SECRET"].startswith(CANARY)


async def test_files_that_hang(
    monkeypatch: pytest.MonkeyPatch, blocked: Callable[..., Any]
) -> None:
    """Secret files in a file system that hangs are given up."""
    monkeypatch.setattr(Credentials, "from_env", blocked)

    await check_hangs("credentials", case_of("https://apistaging.taxizer.com"))


async def test_packages_that_hang(
    monkeypatch: pytest.MonkeyPatch, blocked: Callable[..., Any]
) -> None:
    """Packages in a file system that hangs are given up."""
    monkeypatch.setattr(metadata, "requires", blocked)

    await check_hangs("versions", case_of("https://apistaging.taxizer.com"))


async def test_dns_that_hangs(monkeypatch: pytest.MonkeyPatch, blocked: Callable[..., Any]) -> None:
    """A DNS server that does not answer is given up."""
    monkeypatch.setattr(socket, "getaddrinfo", blocked)

    await check_hangs("dns", case_of("https://apistaging.taxizer.com"))


async def test_packets_that_are_dropped() -> None:
    """A connection that is neither taken nor refused is given up."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # The queue of connections is full, so that the kernel drops what else comes.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())

        await check_hangs("tcp", case_of(f"http://127.0.0.1:{listener.getsockname()[1]}"))


@pytest.mark.parametrize("name", ["clock", "bearer"])
async def test_an_api_that_hangs(silent: RawServer, name: str) -> None:
    """An API that takes requests and does not answer is given up."""
    await check_hangs(name, case_of(silent.base_url))


@pytest.mark.usefixtures("account")
async def test_a_connect_that_hangs(silent: RawServer) -> None:
    """A Connect that does not answer is given up."""
    await check_hangs("login", case_of(silent.base_url))


async def test_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocked: Callable[..., Any]
) -> None:
    """A store in a file system that hangs is given up."""
    monkeypatch.setattr(PrivateDirectory, "prepare", blocked)
    store = StoreConfig(kind=StoreKind.FILE, path=str(tmp_path))

    await check_hangs("store", Case(base_url="", store=store, seconds=LIMIT))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_redis_that_hangs(silent: RawServer) -> None:
    """A Redis that does not answer is given up by the store."""
    url = Secret(silent.base_url.replace("http", "redis"))
    store = StoreConfig(kind=StoreKind.REDIS, redis_url=url)
    case = Case(base_url="", store=store, seconds=HANG)
    (found,) = await findings(case, [check for check in CHECKS if check.name == "store"])

    words = "Redis has not answered within 2 s", "check the disk, or the network, that it is on"
    assert (found.state, found.text, found.advice) == (State.UNAVAILABLE, *words)


async def test_a_crash() -> None:
    """A check that crashes says how, without the text of the exception; the others go on."""

    async def crash(_: Case) -> Finding:
        raise ZeroDivisionError(CANARY)

    checks = [
        Check("crash", crash, advice="try again"),
        Check("after", sound, needs=("crash",)),
        Check("other", sound),
    ]
    found = await findings(case_of(""), checks)

    assert found == [
        Finding(State.UNAVAILABLE, "it failed: ZeroDivisionError", "try again", "crash"),
        Finding(State.SKIPPED, "not tried, because crash failed", "", "after"),
        Finding(State.OK, "sound", "", "other"),
    ]


async def test_a_configuration_that_is_wrong() -> None:
    """An error of the set-up that a check meets by chance is shown as what it is."""

    async def meet(_: Case) -> Finding:
        raise ConfigurationError("a setting is wrong: set it")

    assert await findings(case_of(""), [Check("check", meet, advice="try again")]) == [
        Finding(State.MISCONFIGURED, "a setting is wrong", "set it", "check")
    ]


@pytest.mark.parametrize("limit", ["0", "nan", "inf", "1e9"])
def test_a_limit_that_can_not_be(run: Run, account: dict[str, str], limit: str) -> None:
    """A limit that no request can have is wrong usage."""
    assert "--timeout" in error_of(run("doctor", "--timeout", limit, **account))


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([State.OK, State.WARNING, State.SKIPPED], 0),
        ([State.WARNING, State.REFUSED, State.UNAVAILABLE], 1),
        ([State.MISCONFIGURED, State.REFUSED], 2),
        ([State.UNAVAILABLE, State.MISCONFIGURED], 3),
    ],
)
def test_the_first_failure_counts(states: list[State], code: int) -> None:
    """The exit code is that of the first failure, as the others may come from it."""
    assert exit_code(Finding(state, "") for state in states) == code


def test_needs_come_first() -> None:
    """Each check comes after those that it needs."""
    names = [check.name for check in CHECKS]

    for check in CHECKS:
        assert set(check.needs) <= set(names[: names.index(check.name)])


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("https://apistaging.taxizer.com/", "is the documented staging host"),
        ("https://api.taxizer.com", "is a host of Taxizer, but not the documented staging host"),
    ],
)
async def test_hosts_of_taxizer(base_url: str, words: str) -> None:
    """Taxizer's own hosts are no reason to worry."""
    found = await local_checks.check_url(case_of(base_url))

    assert found == Finding(State.OK, f"{base_url.rstrip('/')} {words}")


async def test_a_source_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed, nothing is known of what it needs."""

    def requires(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    found = await local_checks.check_versions(case_of(""))

    assert found.state is State.WARNING
    assert "runs from a source tree" in found.text


def test_tls_that_hangs(run: Run, silent: RawServer, account: dict[str, str]) -> None:
    """A server that never answers a handshake is given up."""
    # In a process, as the HTTP library leaves the socket of a cancelled handshake open.
    base_url = silent.base_url.replace("http", "https")
    done = run("doctor", "--timeout", "1", **{**account, "TAXIZER_BASE_URL": base_url})

    assert (done.returncode, done.stderr) == (3, "")
    assert "tls          unavailable    no result within 1 s: check what stands" in done.stdout


def test_all_that_can_hang(run: Run, silent: RawServer, account: dict[str, str]) -> None:
    """With an API and a Redis that never answer it ends after the limits of the checks that it makes."""
    env = {
        **account,
        "TAXIZER_BASE_URL": silent.base_url,
        "TAXIZER_REDIS_URL": silent.base_url.replace("http", "redis"),
    }
    began = time.monotonic()
    done = run("doctor", "--store", "redis", "--timeout", "1", **env)

    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.count("unavailable    no result within 1 s: ") == 3
    assert time.monotonic() - began < HANG


#: Runs the program where the look-up of a host name hangs for as long as a test may take.
SLOW_DNS = """
import socket, sys, time
look_up = socket.getaddrinfo
def getaddrinfo(host, *args, **options):
    if host in ("slow.invalid", b"slow.invalid"):
        time.sleep(60)
    return look_up(host, *args, **options)
socket.getaddrinfo = getaddrinfo
from taxizer_async.__main__ import main
sys.exit(main())
"""


def test_its_end_waits_for_no_dns(account: dict[str, str]) -> None:
    """A host name of the store that is looked up for ever does not keep the program from its end."""
    env = {**account, "TAXIZER_REDIS_URL": "redis://slow.invalid"}
    began = time.monotonic()
    done = run_python("-c", SLOW_DNS, "doctor", "--store", "redis", "--timeout", "5", env=env)

    assert (done.returncode, done.stderr) == (3, "")
    assert time.monotonic() - began < 2 * HANG
