"""What the two calls send."""

from __future__ import annotations

import json

import httpx
import pytest

from taxizer_async import Credentials, __version__
from taxizer_async._core.exchange import Issued
from tests.support.raw_server import Serve, answer
from tests.support.token_calls import Asker


TOKEN = b'{"jwtToken": "j-1"}'


def parse(request: bytes) -> tuple[str, dict[str, str], object]:
    """Take a request apart: its first line, its headers and its JSON."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert len(headers) == len(lines)

    return first, headers, json.loads(body)


async def test_connect_sends_the_pair_and_nothing_else(serve: Serve) -> None:
    """Connect is one POST of clientId and clientSecret, with only the necessary headers."""
    server = serve((answer(TOKEN),))
    outcome = await Asker(server.base_url).connect(Credentials("id-ü", 'se"cret'))

    assert isinstance(outcome, Issued)
    (request,) = server.requests
    first, headers, body = parse(request)
    assert first == "POST /v1/Auth/Connect HTTP/1.1"
    assert body == {"clientId": "id-ü", "clientSecret": 'se"cret'}
    del headers["content-length"], headers["connection"]
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"taxizer-async/{__version__}",
    }


async def test_refresh_sends_the_refresh_token_and_nothing_else(serve: Serve) -> None:
    """AppRefreshToken is one POST of refreshToken, with the headers of Connect."""
    server = serve((answer(TOKEN),))
    asker = Asker(server.base_url)
    await asker.refresh("r-42")
    await asker.connect()

    refresh, connect = map(parse, server.requests)
    assert refresh[0] == "POST /v1/Auth/AppRefreshToken HTTP/1.1"
    assert refresh[2] == {"refreshToken": "r-42"}
    assert {**refresh[1], "content-length": ""} == {**connect[1], "content-length": ""}


async def test_paths_are_put_below_that_of_the_base_url(serve: Serve) -> None:
    """A base_url with a path keeps it in front of the endpoint's."""
    server = serve((answer(TOKEN),))
    await Asker(f"{server.base_url}/gateway/taxizer/").connect()

    first, *_ = parse(server.requests[0])
    assert first == "POST /gateway/taxizer/v1/Auth/Connect HTTP/1.1"


@pytest.mark.invariant(18)
@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_nothing_of_the_users_client_but_its_network_is_used(serve: Serve, call: str) -> None:
    """Auth, Authorization header and event hooks of the factory's client are not used in a call."""
    server = serve((answer(TOKEN),))
    seen: list[object] = []

    async def note(happening: object) -> None:
        seen.append(happening)

    def http_client() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=("user", "password"),
            headers={"authorization": "Bearer mine", "X-Mine": "1"},
            event_hooks={"request": [note], "response": [note]},
            follow_redirects=True,
        )

    asker = Asker(server.base_url, http_client=http_client)
    outcome = await (asker.connect() if call == "connect" else asker.refresh())

    assert isinstance(outcome, Issued)
    _, headers, _ = parse(server.requests[0])
    assert "authorization" not in headers
    assert headers["content-type"] == "application/json"
    assert seen == []


@pytest.mark.invariant(18)
@pytest.mark.report(64)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_redirects_are_not_followed(serve: Serve, status: int, call: str) -> None:
    """A redirect is not followed, so its target never sees the secret."""
    elsewhere = serve((answer(TOKEN),))
    location = f"Location: {elsewhere.base_url}/v1/Auth/Connect"
    server = serve((answer(b"", location, status=f"{status} Moved"),))
    asker = Asker(server.base_url, http_client=lambda: httpx.AsyncClient(follow_redirects=True))
    outcome = await (asker.connect(attempts=1) if call == "connect" else asker.refresh())

    assert getattr(outcome, "status_code", None) == status
    assert elsewhere.requests == []
    assert len(server.requests) == 1


async def test_a_documented_answer_is_read_whole(asker: Asker) -> None:
    """Each field of the documented answer is in the token."""
    outcome = await asker.connect()

    assert isinstance(outcome, Issued)
    assert outcome.lifetime == pytest.approx(900, abs=1)
    assert outcome.refresh_lifetime == pytest.approx(86400, abs=1)
    token = outcome.token
    assert None not in (token.app_id, token.app_name, token.account_id, token.account_name)
    assert None not in (token.username, token.refresh_token, token.expires_at)
