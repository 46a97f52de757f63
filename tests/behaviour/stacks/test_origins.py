"""The token goes to the API's origin and to no other, on each stack."""

from __future__ import annotations

import logging

from typing import Any
from urllib.parse import urlencode

import pytest

from taxizer_async import Event, OriginSkipped
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH
from tests.support.onlooker import Onlooker

from .stacks import Auth, Sender, Stack


STATUSES = [301, 302, 303, 307, 308]


def redirect(to: str, status: int) -> str:
    return f"/v1/redirect?{urlencode({'to': to, 'status': status})}"


@pytest.mark.invariant(18)
@pytest.mark.report(64)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_another_host_or_port_gets_no_token(
    sandbox: Sandbox, onlooker: Onlooker, host: str, sender: Sender
) -> None:
    """A foreign request keeps the user's own header, and causes no login even by a 401."""
    onlooker.status = 401
    url = onlooker.url.replace("127.0.0.1", host)
    plain = await sender.send("GET", f"{url}/v1/x")
    own = await sender.send("GET", f"{url}/v1/x", headers={"Authorization": "Mine"})

    assert (plain.status, own.status) == (401, 401)
    assert onlooker.authorizations() == [[], ["Mine"]]
    assert sandbox.counters.exchanges == 0


@pytest.mark.invariant(18)
async def test_the_same_port_of_another_name_gets_no_token(
    sandbox: Sandbox, sender: Sender
) -> None:
    """Another name of the API's own address is another origin."""
    reply = await sender.send("GET", sandbox.base_url.replace("127.0.0.1", "localhost") + PATH)

    assert reply.status == 401
    assert sandbox.resource_log[0].jwt_id is None
    assert sandbox.counters.exchanges == 0


@pytest.mark.invariant(18)
async def test_another_scheme_gets_no_token(
    sandbox: Sandbox, stack: Stack, auth: Auth, events: list[Event]
) -> None:
    """The same host and port by another scheme is another origin."""
    async with stack.open(auth) as sender:
        with pytest.raises(stack.network_errors):
            await sender.send("GET", sandbox.base_url.replace("http:", "https:") + PATH)
    await auth.events_delivered()

    assert events == [OriginSkipped(origin=f"https://127.0.0.1:{sandbox.port}")]
    assert sandbox.counters.exchanges == 0


@pytest.mark.parametrize("write", [str.upper, lambda url: f"{url}/x?@evil.example"])
async def test_any_spelling_of_the_origin_gets_the_token(
    sandbox: Sandbox, stack: Stack, write: Any
) -> None:
    """Scheme, host and port decide, in any spelling of them and whatever follows them."""
    local = sandbox.base_url.replace("127.0.0.1", "localhost")
    auth = stack.make_auth(sandbox, base_url=local)
    async with stack.open(auth) as sender:
        await sender.send("GET", write(f"{local}/v1"))

    assert sandbox.resource_log[0].jwt_id == 1


@pytest.mark.parametrize(
    ("base_url", "written"),
    [
        ("http://[::1]:9", "http://[0:0:0:0:0:0:0:1]:9"),
        ("http://[0:0::1]:9", "http://[::0001]:9"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example:443"),
        ("https://xn--mnchen-3ya.example", "https://MÜNCHEN.example"),
    ],
)
async def test_a_host_has_several_spellings(
    sandbox: Sandbox, stack: Stack, events: list[Event], base_url: str, written: str
) -> None:
    """Other spellings of an address or a name are the same origin."""
    credentials_asked: list[None] = []

    def credentials() -> Any:
        credentials_asked.append(None)
        raise LookupError

    auth = stack.make_auth(
        sandbox, base_url=base_url, credentials=credentials, on_event=events.append
    )
    async with stack.open(auth) as sender:
        with pytest.raises(Exception, match="LookupError"):
            await sender.send("GET", f"{written}/v1/x")
    await auth.events_delivered()

    assert credentials_asked == [None]
    assert not any(isinstance(event, OriginSkipped) for event in events)


@pytest.mark.invariant(18)
async def test_extra_origins_get_the_token(
    sandbox: Sandbox, stack: Stack, onlooker: Onlooker
) -> None:
    """An origin that is listed gets the token, and its neighbour does not."""
    auth = stack.make_auth(sandbox, extra_origins=[onlooker.url])
    async with stack.open(auth) as sender:
        await sender.send("GET", f"{onlooker.url}/v1/x")
        await sender.send("GET", f"{onlooker.url.replace('127.0.0.1', 'localhost')}/v1/x")

    assert onlooker.authorizations() == [[f"Bearer {sandbox.issued_jwts[0]}"], []]


@pytest.mark.invariant(18)
async def test_a_foreign_origin_is_warned_of_once(
    auth: Auth,
    onlooker: Onlooker,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
    sender: Sender,
) -> None:
    """There is one warning and one event per origin, without what else is in the URL."""
    with caplog.at_level(logging.WARNING, "taxizer_async"):
        for _ in range(3):
            await sender.send("GET", f"{onlooker.url}/a?secret=cnry")
    await auth.events_delivered()

    assert events == [OriginSkipped(origin=onlooker.url)]
    assert len(caplog.records) == 1
    assert "cnry" not in caplog.text


@pytest.mark.invariant(18)
@pytest.mark.report(63, 64)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_redirect_elsewhere_loses_the_token(
    sandbox: Sandbox, stack: Stack, auth: Auth, onlooker: Onlooker, status: int, host: str
) -> None:
    """Another port or host that a redirect leads to sees the token in no header of any name."""
    target = f"{onlooker.url.replace('127.0.0.1', host)}/v1/x"
    async with stack.open(auth, follow_redirects=True) as sender:
        reply = await sender.send("POST", redirect(target, status), json={})

    assert reply.status == 200
    assert onlooker.authorizations() == [[]]
    assert sandbox.issued_jwts[0] not in str(onlooker.seen[0])
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(13)
async def test_a_401_from_elsewhere_renews_nothing(
    sandbox: Sandbox, stack: Stack, auth: Auth, onlooker: Onlooker
) -> None:
    """A 401 of a server that never got the token is handed back, and the token stays good."""
    onlooker.status = 401
    async with stack.open(auth, follow_redirects=True) as sender:
        reply = await sender.send("POST", redirect(f"{onlooker.url}/v1/x", 307), json={})
        assert reply.status == 401
        assert (await sender.send("GET", PATH)).status == 200

    assert len(onlooker.seen) == 1
    assert sandbox.counters.exchanges == 1


@pytest.mark.parametrize("status", STATUSES)
async def test_a_redirect_within_the_origin_keeps_the_token(
    sandbox: Sandbox, stack: Stack, auth: Auth, status: int
) -> None:
    """A redirect to another path of the API arrives there with the token."""
    async with stack.open(auth, follow_redirects=True) as sender:
        reply = await sender.send("GET", redirect("/v1/echo", status))

    assert reply.status == 200
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1]


async def test_a_401_after_a_redirect_within_the_origin_is_renewed(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """A revoked token is renewed though the 401 came after a redirect; the body arrives whole."""
    async with stack.open(auth, follow_redirects=True) as sender:
        await sender.send("GET", PATH)
        sandbox.fail("/v1/redirect", Fault.status(307, headers={"Location": "/v1/echo"}))
        sandbox.revoke()
        reply = await sender.send("POST", "/v1/redirect", content=b"invoice")

    assert reply.status == 200
    assert sandbox.counters.refreshes == 1
    assert sandbox.resource_log[-1].body == b"invoice"


async def test_a_redirect_that_is_not_followed_is_handed_back(
    onlooker: Onlooker, sender: Sender
) -> None:
    """A redirect that is not followed is the answer."""
    reply = await sender.send("GET", redirect(onlooker.url, 307))

    assert (reply.status, reply.headers["location"]) == (307, onlooker.url)
    assert onlooker.seen == []
