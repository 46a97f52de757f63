"""The rights that a user of Redis needs, and what is said of one who lacks them, or of a Redis that refuses."""

from __future__ import annotations

import re
import traceback

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from taxizer_async import Event, StoreFailed, TaxizerAuth, TokenStoreError
from taxizer_async.stores import CheckableStore
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import TOKEN_STORE_CASES, Sandbox, check_token_store
from tests.support.redis_server import RedisServer


RIGHTS: Final = "+eval +get +set +del +pttl +pexpire"
CANARY: Final = "c4n4ry-p4ssword"


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(name="own_server")
def _own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of its own, as a test changes how it works."""
    with RedisServer(tmp_path) as server:
        yield server


def _store(server: RedisServer, rights: str, **options: Any) -> RedisTokenStore:
    """Return a store of a user with *rights* on the keys below `a:taxizer_async:`."""
    rule = f"ACL SETUSER till reset on >{CANARY} ~a:taxizer_async:* {rights}"
    assert server.ask(rule) == b"+OK\r\n"
    url = server.url.replace("//", f"//till:{CANARY}@")
    return RedisTokenStore.from_url(url, **{"prefix": "a:", **options})


@pytest.mark.report(155)
@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_documented_rights_suffice(redis_server: RedisServer, protocol: int) -> None:
    """A user with these rights on the keys of a prefix can use all of the store."""
    async with _store(redis_server, RIGHTS, protocol=protocol) as store:
        await store.check()
        passed = await check_token_store(lambda: store)

    # A lambda can't be pickled for the process that is killed.
    assert len(passed) == len(TOKEN_STORE_CASES) - 1


@pytest.mark.report(155)
@pytest.mark.parametrize("missing", RIGHTS.split())
async def test_each_right_is_needed(redis_server: RedisServer, missing: str) -> None:
    """Without one of them the check fails, and says what to do."""
    async with _store(redis_server, RIGHTS.replace(missing, "")) as store:
        with pytest.raises(TokenStoreError) as caught:
            await store.check()

    told = str(caught.value)
    assert "(NOPERM)" in told
    assert f"{RIGHTS} on ~a:taxizer_async:*" in told
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.report(155)
def test_the_rights_are_documented() -> None:
    """The documentation names these rights and no other."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "workers.md").read_text("utf-8")
    assert f"~staging:taxizer_async:* {RIGHTS}\n" in text


async def test_the_keys_of_another_prefix_are_out_of_reach(redis_server: RedisServer) -> None:
    """A user whose keys begin with one prefix can't use another."""
    async with _store(redis_server, RIGHTS, prefix="b:") as store:
        with pytest.raises(TokenStoreError, match=r"\(NOPERM\).* on ~b:taxizer_async:\*"):
            await store.check()


#: What makes a server refuse, by the code that it answers then.
REFUSALS: Final = {
    "OOM": "CONFIG SET maxmemory 1",
    "READONLY": "REPLICAOF 127.0.0.1 1",
    "NOPERM": "ACL SETUSER default -eval",
    "NOAUTH": f"CONFIG SET requirepass {CANARY}",
}


@pytest.mark.invariant(27)
@pytest.mark.report(156)
@pytest.mark.parametrize("code", REFUSALS)
async def test_the_servers_own_code_is_told(
    sandbox: Sandbox, own_server: RedisServer, code: str
) -> None:
    """What the server answered is in the event and in the check, without any other word of its text."""
    heard: list[Event] = []
    async with RedisTokenStore.from_url(own_server.url) as store:
        own_server.ask(REFUSALS[code])
        auth = TaxizerAuth(
            sandbox.credentials, base_url=sandbox.base_url, store=store, on_event=heard.append
        )
        await auth.token()
        await auth.events_delivered()
        with pytest.raises(TokenStoreError, match=rf"^Redis can't be used \({code}\): "):
            await store.check()

    (failure,) = [event for event in heard if isinstance(event, StoreFailed)]
    assert re.fullmatch(rf"\w+Error, {code}", failure.reason)


@pytest.mark.report(156)
async def test_what_is_wrong_with_the_address_is_told(own_server: RedisServer) -> None:
    """The check tells a wrong password, a database that is missing, and a server that is down apart."""
    own_server.ask(f"CONFIG SET requirepass {CANARY}")
    right = own_server.url.replace("//", f"//:{CANARY}@")
    wrong = {
        own_server.url.replace("//", f"//:{CANARY}x@"): r"\(WRONGPASS\): .* password is wrong",
        f"{right}/99": r"\(ERR\): .* whether the database exists",
    }
    for url, text in wrong.items():
        await _fail_check(url, text)
    own_server.stop()
    await _fail_check(right, r"can't be reached \(ConnectionError\): is it up")


async def _fail_check(url: str, text: str) -> None:
    async with RedisTokenStore.from_url(url) as store:
        with pytest.raises(TokenStoreError, match=text) as caught:
            await store.check()
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_a_check_leaves_nothing_behind(redis_server: RedisServer) -> None:
    """A check of a Redis that works says nothing, and no key of it is left."""
    async with RedisTokenStore.from_url(redis_server.url) as store:
        assert isinstance(store, CheckableStore)
        await store.check()
        client = store._clients.current()

        assert await client.keys() == []
