"""What is aiohttp's alone: its middlewares, its sessions and its errors."""

from __future__ import annotations

import asyncio
import gc

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import pytest

from aiohttp import web
from yarl import URL

import taxizer_async.aiohttp
import taxizer_async.httpx2

from taxizer_async import (
    ConfigurationError,
    CredentialsRejectedError,
    Event,
    OriginSkipped,
    RenewalPolicy,
    TaxizerAuth,
    TokenRefused,
)
from taxizer_async.aiohttp import TaxizerMiddleware
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, auth_of
from tests.support.limits import HANG
from tests.support.onlooker import Onlooker
from tests.support.raw_server import RawServer, answer

from .conftest import open_session, status_of


@pytest.mark.report(147)
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_a_web_socket_is_opened_with_the_token(sandbox: Sandbox, scheme: str) -> None:
    """A handshake has the token, by either name of its scheme, and is repeated with a new one after a 401."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == f"Bearer {sandbox.issued_jwts[0]}":
            raise web.HTTPUnauthorized
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_str("hello")
        await opened.close()
        return opened

    app = web.Application()
    app.router.add_get("/ws", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0])
    auth = auth_of(sandbox, extra_origins=[url])
    where = f"{url}/ws".replace("http", scheme)
    async with open_session(auth) as session, session.ws_connect(where) as opened:
        assert await opened.receive_str() == "hello"
    await runner.cleanup()

    assert len(sandbox.issued_jwts) == 2


async def test_a_redirect_from_elsewhere_is_a_request_of_its_own(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A redirect from elsewhere to the API is a request of its own, and has the token."""
    foreign = sandbox.base_url.replace("127.0.0.1", "localhost")
    to = {"Location": f"{sandbox.base_url}/v1/x"}
    sandbox.fail("/v1/away", Fault.status(302, headers=to))
    async with open_session(auth) as session, session.get(f"{foreign}/v1/away") as answer:
        assert answer.status == 200

    assert [entry.jwt_id for entry in sandbox.resource_log] == [None, 1]


async def test_a_challenge_in_a_second_header_counts(sandbox: Sandbox) -> None:
    """Of two WWW-Authenticate headers the second one may be about rights."""
    challenges = ["WWW-Authenticate: Basic", "WWW-Authenticate: Bearer error=insufficient_scope"]
    with RawServer((answer(b"", *challenges, "Connection: close", status="401 No"),)) as server:
        auth = auth_of(sandbox, extra_origins=[server.base_url])
        async with open_session(auth) as session:
            assert await status_of(session, server.base_url) == 401

    assert sandbox.counters.exchanges == 1


async def test_a_host_that_aiohttp_leaves_as_it_is_gets_no_token(
    sandbox: Sandbox, auth: TaxizerAuth, events: list[Event]
) -> None:
    """A host that is not ASCII, as aiohttp sends it without requoting, is another origin."""
    async with open_session(auth) as session:
        with pytest.raises(aiohttp.ClientConnectorDNSError):
            await session.get(URL("http://tax\u0456zer.invalid/v1/x", encoded=True))
    await auth.events_delivered()

    assert events == [OriginSkipped(origin="http://tax\\u0456zer.invalid:80")]
    assert sandbox.counters.exchanges == 0


class Onlooking:
    """A middleware that notes what passes."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, int]] = []

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        is_logged_in = "Authorization" in request.headers
        response = await handler(request)
        self.seen.append((is_logged_in, response.status))
        return response


async def test_middlewares_before_it_see_no_token_and_those_after_it_all(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A middleware outside ours sees one request that succeeds; one inside sees the refused one, too."""
    outer, inner = Onlooking(), Onlooking()
    chain = [outer, TaxizerMiddleware(auth), inner]
    async with open_session(auth, middlewares=chain) as session:
        assert await status_of(session) == 200
        sandbox.revoke()
        assert await status_of(session) == 200

    assert outer.seen == [(False, 200)] * 2
    assert inner.seen == [(True, 200), (True, 401), (True, 200)]


async def test_a_middleware_that_tries_again_may_be_outside(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A request that another middleware sends a second time has the token both times."""

    async def insist(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status != 503:
            return response
        response.release()
        return await handler(request)

    sandbox.fail(PATH, Fault.status(503), times=1)
    async with open_session(auth, middlewares=[insist, TaxizerMiddleware(auth)]) as session:
        assert await status_of(session, data=b"invoice") == 200

    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1]


async def test_a_single_request_may_have_it_or_do_without(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A request's own middlewares replace those of the session, as aiohttp has it."""
    async with aiohttp.ClientSession(sandbox.base_url) as session:
        assert await status_of(session) == 401
        assert await status_of(session, middlewares=[TaxizerMiddleware(auth)]) == 200
    async with open_session(auth) as session:
        assert await status_of(session, middlewares=[]) == 401

    assert [entry.jwt_id for entry in sandbox.resource_log] == [None, 1, None]


async def test_cookies_and_headers_of_a_session_are_sent_again(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A resent request has all that the first one had."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with open_session(
        auth, cookies={"a": "1"}, headers={"X-Mine": "1"}, cookie_jar=jar
    ) as session:
        await status_of(session)
        sandbox.revoke()
        async with session.get("/v1/echo") as answer:
            headers = (await answer.json())["headers"]

    assert (headers["cookie"], headers["x-mine"]) == ("a=1", "1")


async def test_raise_for_status_is_about_the_last_answer(sandbox: Sandbox) -> None:
    """`raise_for_status` of a session applies to the answer that is handed back, and to no login."""
    forgetful = RenewalPolicy(rejected_for=1e-6)
    auth = auth_of(sandbox, policy=forgetful)
    async with open_session(auth, raise_for_status=True) as session:
        sandbox.fail("connect", Fault.status(400), times=1)
        with pytest.raises(CredentialsRejectedError):
            await session.post(PATH)
        assert await status_of(session) == 200
        sandbox.revoke()
        assert await status_of(session) == 200
        sandbox.fail(PATH, Fault.status(403))
        with pytest.raises(aiohttp.ClientResponseError, match="403"):
            await session.post(PATH)


@pytest.mark.parametrize("how", ["raise-for-status", "no-json", "wrong-encoding", "gone"])
async def test_errors_of_aiohttp_show_no_token(
    sandbox: Sandbox, auth: TaxizerAuth, how: str
) -> None:
    """The errors of aiohttp, which show all headers of a request, show no token."""
    faults = {
        "raise-for-status": Fault.status(403),
        "no-json": Fault.status(200, body="x"),
        "wrong-encoding": Fault.status(200, headers={"Content-Encoding": "gzip"}, body="x"),
        "gone": Fault.reset(),
    }
    sandbox.fail(PATH, faults[how])
    async with open_session(auth, raise_for_status=True) as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            async with session.post(PATH) as answer:
                await answer.json()

    (jwt,) = sandbox.issued_jwts
    for shown in (repr(caught.value), str(vars(caught.value)), repr(caught.value.args)):
        assert jwt not in shown


async def test_the_users_header_stays_where_no_token_goes(
    auth: TaxizerAuth, onlooker: Onlooker
) -> None:
    """The user's own Authorization goes to another origin, and stays in the request."""
    mine = {"Authorization": "Mine"}
    async with open_session(auth) as session, session.get(onlooker.url, headers=mine) as answer:
        assert answer.request_info.headers["Authorization"] == "Mine"

    assert onlooker.authorizations() == [["Mine"]]


async def test_a_caller_that_is_cancelled_with_an_answer_in_hand_frees_its_connection(
    sandbox: Sandbox,
) -> None:
    """A caller that leaves while a listener hears of its 401 leaves nothing open."""
    told = anyio.Event()
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    # So that aiohttp complains of an answer that nobody has closed.
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))

    async def linger(event: Event) -> None:
        if isinstance(event, TokenRefused):
            told.set()
            await anyio.sleep_forever()

    auth = auth_of(sandbox, on_event=linger)
    connector = aiohttp.TCPConnector(limit=1)
    async with open_session(auth, connector=connector) as session:
        await status_of(session)
        sandbox.fail(PATH, Fault.status(401, body="x" * 2_000_000), times=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: status_of(session, data=chunks()))
            await told.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(HANG):
            async with session.get(PATH, middlewares=[]) as answer:
                assert answer.status == 401
        gc.collect()
    assert complaints == []


@pytest.mark.parametrize("exchange", ["connect", "refresh"])
async def test_a_session_that_is_closed_during_a_wait_for_a_token_says_so(
    sandbox: Sandbox, exchange: str
) -> None:
    """The request fails as one that begins in a closed session, and is not sent."""
    auth = auth_of(sandbox)
    if exchange == "refresh":
        await auth.token()
        sandbox.revoke()
    with sandbox.hold(exchange) as gate:
        async with open_session(auth) as session:
            request = asyncio.create_task(status_of(session))
            await gate.wait_until_async(1, HANG)
        gate.release()
    with pytest.raises(RuntimeError, match="Session is closed"):
        await request

    assert sandbox.counters.resources_ok == 0


async def chunks() -> AsyncIterator[bytes]:
    yield b"invoice"


@pytest.mark.report(144)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_paths_are_below_a_base_url_with_a_path(sandbox: Sandbox, slash: str) -> None:
    """Behind a gateway's prefix a path is below the prefix, and a whole URL is taken as it is."""
    script = (answer(b'{"jwtToken": "j-1"}', "Connection: close"),)
    with RawServer(script) as gateway:
        base_url = f"{gateway.base_url}/gateway/taxizer{slash}"
        auth = TaxizerAuth(sandbox.credentials, base_url=base_url)
        async with taxizer_async.aiohttp.open_session(auth) as session:
            for path in ("/v1/a b?c=%26#d", "v1/x", f"{gateway.base_url}/v1/y"):
                async with session.get(path) as reply:
                    assert reply.status == 200

    assert [request.split(b" ")[1] for request in gateway.requests] == [
        b"/gateway/taxizer/v1/Auth/Connect",
        b"/gateway/taxizer/v1/a%20b?c=%26",
        b"/gateway/taxizer/v1/x",
        b"/v1/y",
    ]


@pytest.mark.parametrize("option", ["base_url", "auth"])
async def test_what_a_session_of_ours_brings_itself_is_refused(
    auth: TaxizerAuth, option: str
) -> None:
    """Another base_url or auth for the session is refused at once."""
    options: dict[str, Any] = {option: "https://api.example"}
    with pytest.raises(ConfigurationError, match=f"open_session sets {option} itself"):
        taxizer_async.aiohttp.open_session(auth, **options)


async def test_a_timeout_counts_the_login(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A session's timeout ends the wait for a login; the next request is none the worse."""
    async with open_session(auth) as session:
        with sandbox.hold("connect"):
            with pytest.raises(TimeoutError):
                await status_of(session, timeout=aiohttp.ClientTimeout(0.1))
            assert sandbox.counters.resources == 0
        assert await status_of(session) == 200


async def test_a_connection_that_the_server_has_closed_costs_nothing(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A server that was restarted is asked again, with the token."""
    async with open_session(auth) as session:
        await status_of(session)
        await anyio.to_thread.run_sync(sandbox.stop)
        await anyio.to_thread.run_sync(sandbox.start)
        async with session.get(PATH) as answer:
            assert answer.status == 200

    assert sandbox.counters.exchanges == 1


async def test_the_auth_may_be_httpx2s(sandbox: Sandbox) -> None:
    """The auth for httpx2 serves aiohttp as well, and logs in over httpx2."""
    auth = taxizer_async.httpx2.TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    async with open_session(auth) as session:
        assert await status_of(session) == 200
        sandbox.revoke()
        assert await status_of(session) == 200


@pytest.mark.parametrize("auth", [None, ("user", "password"), TaxizerAuth])
def test_another_kind_of_auth_is_refused(auth: Any) -> None:
    """Another kind of auth is refused by the name of its type."""
    with pytest.raises(ConfigurationError, match=f"TaxizerAuth, not {type(auth).__name__}"):
        TaxizerMiddleware(auth)


def test_a_repr_names_the_auth(auth: TaxizerAuth) -> None:
    """The repr names the auth, and nothing secret."""
    assert repr(TaxizerMiddleware(auth)) == f"<TaxizerMiddleware of {auth!r}>"
