"""Invariants 18 and 19: where tokens go, and what is refused."""

from __future__ import annotations

import gzip

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import (
    ConfigurationError,
    Credentials,
    OriginSkipped,
    RenewalPolicy,
    TaxizerAuth,
    TokenResponseError,
)
from taxizer_async.testing import Fault, Sandbox
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async import Event


MEBIBYTE = 1024 * 1024


@pytest.fixture(name="other")
def _other() -> Iterator[Sandbox]:
    """Another server, which differs in its port alone."""
    with Sandbox() as other:
        yield other


def by_name(sandbox: Sandbox) -> str:
    return sandbox.base_url.replace("127.0.0.1", "localhost")


async def carried(auth: TaxizerAuth, url: str) -> bool:
    """Say whether a request to *url* carries the token."""
    flow = auth.async_auth_flow(httpx.Request("GET", url))
    request = await anext(flow)
    await flow.aclose()
    return "Authorization" in request.headers


async def test_invariant_18_the_token_goes_to_its_origins_only(
    sandbox: Sandbox, other: Sandbox
) -> None:
    """Scheme, host and port decide, as they are parsed; extra origins get the token, too."""
    extra = "https://extra.example:8443"
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, extra_origins=[extra])
    port = sandbox.port
    own = [f"{sandbox.base_url}/a", f"HTTP://127.0.0.1:{port}?b", f"{extra}/c"]
    foreign = [
        f"https://127.0.0.1:{port}/a",
        f"{by_name(sandbox)}/a",
        f"{other.base_url}/a",
        f"http://127.0.0.1:{port}@evil.example/a",
        f"http://evil.example/{sandbox.base_url}",
        f"http://127.0.0.1.evil.example:{port}/a",
        "https://extra.example/c",
        "http://extra.example:8443/c",
    ]

    assert [await carried(auth, url) for url in own] == [True] * len(own)
    assert [await carried(auth, url) for url in foreign] == [False] * len(foreign)


async def test_invariant_18_other_requests_pass_untouched_with_one_warning(
    sandbox: Sandbox, other: Sandbox, events: list[Event]
) -> None:
    """A foreign request keeps its own header and its 401, causes no login, and one event per origin."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, on_event=events.append)
    async with httpx.AsyncClient(auth=auth) as client:
        for _ in range(2):
            for url in (f"{other.base_url}/v1/echo", f"{by_name(sandbox)}/v1/echo"):
                answer = await client.get(url, headers={"Authorization": "Mine"})
                assert answer.status_code == 401
                assert answer.request.headers["Authorization"] == "Mine"

    assert sandbox.counters.exchanges == other.counters.exchanges == 0
    await auth.events_delivered()
    assert events == [OriginSkipped(origin=other.base_url), OriginSkipped(origin=by_name(sandbox))]


async def test_invariant_18_an_exchange_follows_no_redirect(
    sandbox: Sandbox, other: Sandbox
) -> None:
    """A login that is redirected fails, and the other server sees nothing of the secret."""
    auth = TaxizerAuth(
        sandbox.credentials,
        base_url=sandbox.base_url,
        http_client=lambda: httpx.AsyncClient(follow_redirects=True),
    )
    location = {"Location": f"{other.base_url}/v1/Auth/Connect"}
    sandbox.fail("connect", Fault.status(307, headers=location))
    with pytest.raises(TokenResponseError):
        await auth.token()

    assert other.counters.exchanges == 0


async def test_invariant_18_exchanges_are_not_seen_by_the_users_client(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """Logins pass through no event hook, are in no history, and need no connection of the user's pool."""
    seen: list[str] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request.url.path)

    async with httpx.AsyncClient(
        auth=auth,
        base_url=sandbox.base_url,
        event_hooks={"request": [note]},
        limits=httpx.Limits(max_connections=1),
    ) as client:
        assert (await client.get("/v1/a")).history == []
        sandbox.revoke()
        answer = await client.get("/v1/b")
        assert answer.status_code == 200
        paths = {each.request.url.path for each in (*answer.history, answer)}
        async with client.stream("GET", "/v1/stream"):
            await auth.forget()
            with anyio.fail_after(HANG):
                await auth.token()

    assert paths == set(seen[1:2]) == {"/v1/b"}
    assert "/v1/Auth/Connect" not in seen
    assert "/v1/Auth/AppRefreshToken" not in seen
    assert sandbox.counters.exchanges == 3


async def test_invariant_18_exchanges_use_nothing_of_the_factorys_client_but_its_network(
    sandbox: Sandbox,
) -> None:
    """Hooks, auth and an Authorization header of a client that `http_client` returns stay out."""
    seen: list[object] = []

    async def note(happening: object) -> None:
        seen.append(happening)

    auth = TaxizerAuth(
        sandbox.credentials,
        base_url=sandbox.base_url,
        http_client=lambda: httpx.AsyncClient(
            auth=("user", "password"),
            headers={"Authorization": "Mine"},
            event_hooks={"request": [note], "response": [note]},
        ),
    )
    await auth.token()

    assert seen == []
    assert not any(entry.had_authorization_header for entry in sandbox.exchange_log)


@pytest.mark.parametrize(
    ("base_url", "good"),
    [
        ("http://api.example", False),
        ("http://127.0.0.1.api.example", False),
        ("http://192.168.0.1", False),
        ("ftp://127.0.0.1", False),
        ("https://api.example", True),
        ("http://127.0.0.1:1", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
    ],
)
def test_invariant_19_https_only_but_for_loopback(*, base_url: str, good: bool) -> None:
    """Plain http is refused before a secret could be sent, except to this very machine."""
    pair = Credentials("id", "secret")
    if good:
        assert TaxizerAuth(pair, base_url=base_url).base_url == base_url
        return
    with pytest.raises(ConfigurationError, match="https"):
        TaxizerAuth(pair, base_url=base_url)


@pytest.mark.parametrize("jwt", ["", "a b", "a\r\nX: y", "a\n", "ü", "a\x7f", "a\x00", "\u200b"])
async def test_invariant_19_a_jwt_is_visible_ascii(
    sandbox: Sandbox, auth: TaxizerAuth, jwt: str
) -> None:
    """A JWT that could not stand in a header, or would change it, is refused."""
    sandbox.fail("connect", Fault.edit(jwtToken=jwt))
    with pytest.raises(TokenResponseError):
        await auth.token()

    assert not auth.status().usable


@pytest.mark.parametrize("length", [MEBIBYTE, MEBIBYTE + 1])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_invariant_19_an_answer_has_a_mebibyte_at_most(
    sandbox: Sandbox, length: int, encoding: str
) -> None:
    """One byte more, as it is sent or when it is inflated, is refused though there is a token in it."""
    hasty = RenewalPolicy(backoff=60.0)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=hasty)
    body = b'{"jwtToken": "j-1"}'.ljust(length)
    sent = gzip.compress(body) if encoding == "gzip" else body
    sandbox.fail("connect", Fault.junk(sent, headers={"Content-Encoding": encoding}))
    if length <= MEBIBYTE:
        assert (await auth.token()).jwt.reveal() == "j-1"
        return
    with pytest.raises(TokenResponseError, match="1 MiB"):
        await auth.token()
