"""Many accounts in one process: an auth for each, and one `httpx.AsyncClient` for all."""

from __future__ import annotations

import gc
import ssl
import threading
import tracemalloc

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from taxizer_async import Credentials, RenewalPolicy, TaxizerAuth, TokenEndpointUnavailableError
from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._core.exchange import Issued
from taxizer_async._http import library as _library
from taxizer_async._http.library import MOST_LOGINS
from taxizer_async.testing import Sandbox
from tests.support.limits import HANG
from tests.support.token_calls import Asker


#: Bytes that an account may take once it is logged in, its token included.
MOST_BYTES = 30_000
#: Seconds; a thousand logins at once take a busy machine longer than a single one may.
A_WHILE = 16 * HANG
UNAUTHORIZED = 401


def secrets(number: int) -> dict[str, str]:
    """The clientIds of *number* accounts, and their secrets."""
    return {f"account-{index}": f"secret-of-{index}" for index in range(number)}


def auths_of(sandbox: Sandbox, **options: Any) -> dict[str, TaxizerAuth]:
    return {
        account: TaxizerAuth(Credentials(account, secret), base_url=sandbox.base_url, **options)
        for account, secret in dict(sandbox.accounts).items()
    }


async def at_once(calls: Iterable[Callable[[], Coroutine[Any, Any, object]]]) -> None:
    with anyio.fail_after(A_WHILE):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)


@pytest.fixture(name="contexts")
def _contexts(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The TLS contexts that are made for logins, of which there is none yet."""
    made: list[ssl.SSLContext] = []
    make = httpx.create_ssl_context

    def make_counted(**options: Any) -> ssl.SSLContext:
        made.append(make(**options))
        return made[-1]

    monkeypatch.setattr(httpx, "create_ssl_context", make_counted)
    monkeypatch.setattr(HTTPX.tls, "_stamp", None)
    return made


@pytest.fixture(name="crowded")
def _crowded() -> Iterator[Sandbox]:
    """A sandbox with more accounts than may log in at once."""
    with Sandbox(accounts=secrets(3 * MOST_LOGINS)) as sandbox:
        yield sandbox


async def test_logins_of_many_accounts_share_one_tls_context(
    crowded: Sandbox, contexts: list[ssl.SSLContext]
) -> None:
    """Accounts that log in at the same moment read the CA bundle once."""
    await at_once(auth.token for auth in auths_of(crowded).values())

    assert len(contexts) == 1


async def test_only_so_many_logins_are_under_way_at_once(crowded: Sandbox) -> None:
    """However many accounts log in at the same moment, the server gets 64 logins at a time."""
    crowded.connect_latency = 0.1
    with crowded.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            for auth in auths_of(crowded).values():
                tasks.start_soon(auth.token)
            await crowded.wait_until_async(lambda seen: seen.connects >= MOST_LOGINS)
            gate.release()

    assert crowded.counters.connects == 3 * MOST_LOGINS
    assert crowded.counters.max_concurrent_exchanges == MOST_LOGINS


async def test_a_login_makes_room_for_the_next(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has asked a server, and has its answer, keeps nobody waiting."""
    monkeypatch.setattr(_library, "MOST_LOGINS", 1)
    asker = Asker(sandbox.base_url, library=_library.HttpLibrary(httpx))

    for _ in range(2):
        assert isinstance(await asker.connect(attempts=1, seconds=HANG), Issued)


async def test_a_server_that_hangs_delays_no_login_elsewhere(
    crowded: Sandbox, sandbox: Sandbox
) -> None:
    """The logins of another base URL do not wait for those that hang."""
    with crowded.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            for auth in auths_of(crowded).values():
                tasks.start_soon(auth.token)
            await crowded.wait_until_async(lambda seen: seen.connects == MOST_LOGINS)
            with anyio.fail_after(HANG):
                await TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url).token()
            gate.release()


async def test_a_login_that_was_kept_waiting_fails_in_time(crowded: Sandbox) -> None:
    """A login that others kept from being sent for as long as it may take is a retryable error."""
    policy = RenewalPolicy(exchange_timeout=0.3)
    first, last = (
        auths_of(crowded),
        TaxizerAuth(crowded.credentials, base_url=crowded.base_url, policy=policy),
    )
    with crowded.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            for auth in list(first.values())[:MOST_LOGINS]:
                tasks.start_soon(auth.token)
            await crowded.wait_until_async(lambda seen: seen.connects == MOST_LOGINS)
            with pytest.raises(TokenEndpointUnavailableError, match="64 other logins") as caught:
                await last.token()
            gate.release()

    assert caught.value.retryable


@pytest.mark.slow
@pytest.mark.timeout(3 * A_WHILE)
async def test_a_thousand_accounts_are_cheap_and_apart(contexts: list[ssl.SSLContext]) -> None:
    """A thousand accounts take 30 kB each and no thread, and no request carries another's token."""
    answers: Counter[str] = Counter()
    # The pool of an httpx client gets slow with more requests than it has connections.
    at_a_time = anyio.CapacityLimiter(100)

    async def submit(client: httpx.AsyncClient, auths: dict[str, TaxizerAuth], name: str) -> None:
        for _ in range(2):
            async with at_a_time:
                answer = await client.get("/v1/echo", auth=auths[name])
            # On a busy machine a renewal may take longer than a request waits for it.
            whose = name if answer.status_code == UNAUTHORIZED else answer.json()["client"]
            answers["right" if whose == name else "crossed"] += 1

    with Sandbox(accounts=secrets(1_000)) as sandbox:
        before = set(threading.enumerate())
        auths, allocated = await _logged_in(sandbox)
        async with httpx.AsyncClient(base_url=sandbox.base_url, timeout=A_WHILE) as client:
            calls = [partial(submit, client, auths, name) for name in auths]
            await at_once([*calls[:500], partial(_revoke, sandbox), *calls[500:]])

        idle = {each.name for each in set(threading.enumerate()) - before}
        assert allocated / 1_000 <= MOST_BYTES
        assert answers == {"right": 2_000}
        assert len(contexts) == 1
        assert sandbox.counters.max_concurrent_exchanges <= MOST_LOGINS
        # anyio keeps one of its own for a while, for `revoke`.
        assert {name for name in idle if "AnyIO" not in name and "Trio" not in name} == set()


async def _logged_in(sandbox: Sandbox) -> tuple[dict[str, TaxizerAuth], int]:
    """Return the auths, and the bytes that they take once each has a token."""
    await TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url).token()
    gc.collect()
    tracemalloc.start()
    try:
        auths = auths_of(sandbox, policy=RenewalPolicy(exchange_timeout=A_WHILE))
        await at_once(auth.token for auth in auths.values())
        gc.collect()
        return auths, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


async def _revoke(sandbox: Sandbox) -> None:
    await sandbox.wait_until_async(lambda seen: seen.resources_ok > 0)
    sandbox.revoke()
