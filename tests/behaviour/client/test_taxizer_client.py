"""`TaxizerClient` is the library's AsyncClient with an auth, and nothing more."""

from __future__ import annotations

import contextlib
import ssl

from functools import partial
from typing import Any

import anyio
import pytest

from taxizer_async import (
    DEFAULT_BASE_URL,
    ConfigurationError,
    Credentials,
    Event,
    LoggedIn,
    MemoryTokenStore,
    RenewalPolicy,
    TokenEndpointUnavailableError,
    TokenState,
)
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH
from tests.support.policies import ONE_TRY

from .libraries import Library


PAIR = Credentials("id", "secret")


async def test_a_client_is_logged_in_and_pointed_at_the_api(
    library: Library, sandbox: Sandbox
) -> None:
    """Requests name paths below base_url and carry the token; a login is made for the first."""
    async with library.taxizer_client(sandbox) as client:
        answers = [await client.post(PATH, json={}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert sandbox.counters.exchanges == 1
    assert client.auth.status().state is TokenState.FRESH


async def test_the_documented_host_is_the_default(library: Library) -> None:
    """Without base_url requests go to the host of the API reference."""
    async with library.adapter.TaxizerClient(PAIR) as client:
        assert str(client.base_url).rstrip("/") == DEFAULT_BASE_URL
        assert DEFAULT_BASE_URL in repr(client.auth)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_second_event_loop_is_refused(library: Library, sandbox: Sandbox, backend: str) -> None:
    """A client whose connections are in an event loop that ended says so, and what to do instead."""
    client = library.taxizer_client(sandbox)
    client.event_hooks = {}

    async def share() -> int:
        async with library.plain_client(client.auth) as other:
            return int((await other.get("/v1/x")).status_code)

    anyio.run(partial(client.get, "/v1/x", headers={"Connection": "close"}), backend=backend)
    for _ in range(2):
        with pytest.raises(
            ConfigurationError, match="this TaxizerClient was used in another event"
        ):
            anyio.run(client.get, "/v1/x", backend=backend)

    assert anyio.run(share, backend=backend) == 200
    assert sandbox.counters.connects == 1


async def test_options_of_the_auth_reach_it(
    library: Library, sandbox: Sandbox, events: list[Event]
) -> None:
    """Store, policy and on_event are those of the auth."""
    store = MemoryTokenStore()
    options: dict[str, Any] = {
        "base_url": sandbox.base_url,
        "store": store,
        "on_event": events.append,
        "policy": ONE_TRY,
    }
    async with library.adapter.TaxizerClient(sandbox.credentials, **options) as first:
        await first.get("/v1/x")
    async with library.adapter.TaxizerClient(sandbox.credentials, **options) as second:
        await second.get("/v1/x")
    sandbox.fail("connect", Fault.status(500))
    await second.auth.forget()
    with pytest.raises(Exception, match="500"):
        await second.auth.token()

    assert sandbox.counters.connects == 2
    await first.auth.events_delivered()
    assert isinstance(events[0], LoggedIn)


async def test_options_of_httpx_reach_it(library: Library, sandbox: Sandbox) -> None:
    """Each option of the library's AsyncClient can be given."""
    async with library.taxizer_client(
        sandbox,
        headers={"X-Mine": "1"},
        params={"q": "2"},
        timeout=7,
        limits=library.module.Limits(max_connections=1),
        follow_redirects=True,
        transport=None,
        mounts=None,
    ) as client:
        answer = await client.get("/v1/echo")

        assert client.timeout == library.module.Timeout(7)
        assert client.follow_redirects
    assert answer.json()["headers"]["x-mine"] == "1"
    assert answer.request.url.query == b"q=2"


@pytest.mark.parametrize("option", ["transport", "mounts"])
async def test_a_login_needs_a_way_of_its_own(library: Library, option: str) -> None:
    """With transport= or mounts= the client also needs http_client=, to know how to log in."""
    value = library.module.AsyncHTTPTransport() if option == "transport" else {"all://": None}
    options: dict[str, Any] = {option: value}
    with pytest.raises(
        ConfigurationError,
        match=rf"share the client's {option}=.*{library.module.__name__}\.AsyncClient",
    ):
        library.adapter.TaxizerClient(PAIR, **options)

    async with library.adapter.TaxizerClient(
        PAIR, http_client=library.module.AsyncClient, **options
    ):
        pass


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("auth", [("user", "password"), None])
def test_another_auth_is_refused(library: Library, auth: Any, is_given: bool) -> None:
    """A TaxizerClient makes its own auth, whatever else is given."""
    http_client = library.module.AsyncClient if is_given else None
    with pytest.raises(ConfigurationError, match="makes its own auth"):
        library.adapter.TaxizerClient(PAIR, auth=auth, http_client=http_client)


def test_an_unknown_option_is_refused(library: Library) -> None:
    """A misspelt option is a TypeError, as it is with the library."""
    with pytest.raises(TypeError, match="time_out"):
        library.adapter.TaxizerClient(PAIR, time_out=3)


async def test_the_auth_can_be_exchanged_for_its_like(library: Library, sandbox: Sandbox) -> None:
    """Several clients may share one auth; another kind of auth is refused."""
    auth = library.auth(sandbox)
    async with library.adapter.TaxizerClient(PAIR, base_url=sandbox.base_url) as client:
        client.auth = auth

        assert client.auth is auth
        assert (await client.get("/v1/x")).status_code == 200
        for other in (None, ("user", "password"), library.module.BasicAuth("a", "b")):
            with pytest.raises(
                ConfigurationError,
                match=rf"is a TaxizerAuth, not.*{library.module.__name__}\.AsyncClient",
            ):
                client.auth = other
        assert client.auth is auth


async def test_a_request_can_do_without_the_auth(library: Library, sandbox: Sandbox) -> None:
    """A request with auth=None is sent without the token."""
    async with library.taxizer_client(sandbox) as client:
        answer = await client.get("/v1/x", auth=None)

    assert answer.status_code == 401
    assert sandbox.counters.exchanges == 0


async def test_a_base_url_may_have_blanks_around_it(library: Library, sandbox: Sandbox) -> None:
    """A base_url with blanks or a newline around it works, as it does for the auth."""
    async with library.adapter.TaxizerClient(
        sandbox.credentials, base_url=f" {sandbox.base_url}\n"
    ) as client:
        assert (await client.get("/v1/x")).status_code == 200


@pytest.mark.parametrize(
    "options", [{"trust_env": False}, {"verify": True}, {"proxy": "http://127.0.0.1:9"}]
)
async def test_logins_of_one_client_build_no_tls_context_each(
    library: Library, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """The logins of a client read the CA bundle once at most, as that takes long."""
    build, built = ssl.create_default_context, 0

    def count(**arguments: Any) -> ssl.SSLContext:
        nonlocal built
        built += 1
        return build(**arguments)

    async with library.taxizer_client(
        sandbox,
        policy=RenewalPolicy(backoff=60.0, outage_backoff=1e-6, outage_backoff_limit=1e-6),
        **options,
    ) as client:
        monkeypatch.setattr(ssl, "create_default_context", count)
        for _ in range(3):
            # There is no such proxy.
            with contextlib.suppress(TokenEndpointUnavailableError):
                await client.auth.token()
            await client.auth.forget()

    assert built <= 1
