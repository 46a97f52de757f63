"""
The contenders on the pipeline of azure-core. Each is set up as its documentation says.

The credentials of azure-identity only use https and addresses of Microsoft, so the policy gets another
credential with the documented protocol.
"""

from __future__ import annotations

import time

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from azure.core import AsyncPipelineClient
from azure.core.credentials import AccessTokenInfo
from azure.core.pipeline import PipelineContext, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRedirectPolicy,
    AsyncRetryPolicy,
    HeadersPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

from benchmarks.contenders import BODY, JSON, PATH, TIMEOUT, Contender, Session, Setup
from benchmarks.on_httpx import own_auth


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


_SCOPE: Final = "taxizer"


class Credential:
    """An `AsyncSupportsTokenInfo` that logs in over the pipeline."""

    def __init__(self, setup: Setup, client: AsyncPipelineClient[Any, Any]) -> None:
        self._setup = setup
        self._client = client

    async def get_token_info(self, *_: str, options: object = None) -> AccessTokenInfo:  # noqa: ARG002
        """Log in."""
        now = time.time()
        return token_info(self._setup, now, await self._client.send_request(login(self._setup)))

    async def close(self) -> None:
        """Do nothing: the caller closes the client."""


def login(setup: Setup) -> HttpRequest:
    """Return the request of a login."""
    form = {
        "grant_type": "client_credentials",
        "client_id": setup.target.client_id,
        "client_secret": setup.target.client_secret,
    }
    return HttpRequest("POST", f"{setup.target.base_url}/oauth/token", data=form)


def token_info(setup: Setup, now: float, response: Any) -> AccessTokenInfo:
    """Return the token that *response* has to a login of *now*."""
    response.raise_for_status()
    fields = response.json()
    ends_at = int(now + fields["expires_in"])
    refresh_on = None if setup.early is None else int(ends_at - setup.early)
    return AccessTokenInfo(fields["access_token"], ends_at, refresh_on=refresh_on)


@asynccontextmanager
async def open_static(setup: Setup) -> AsyncIterator[Session]:
    """Open the floor: a policy that sets headers."""
    token = (await own_auth(setup).token()).jwt.reveal()
    policy = HeadersPolicy({"Authorization": f"Bearer {token}"})
    async with (
        _transport(setup) as transport,
        AsyncPipelineClient(
            setup.target.base_url, policies=[*_usual(), policy], transport=transport
        ) as client,
    ):
        prepared = _prepared(setup, transport)

        async def attach() -> None:
            policy.on_request(prepared)

        yield Session(request=_requesting(client, setup), attach=attach)


@asynccontextmanager
async def open_azure(setup: Setup) -> AsyncIterator[Session]:
    """Open azure-core: its policy for bearer tokens."""
    async with (
        _transport(setup) as transport_of_logins,
        _transport(setup) as transport,
        AsyncPipelineClient(
            setup.target.base_url, policies=_usual(), transport=transport_of_logins
        ) as logins,
    ):
        policy: AsyncBearerTokenCredentialPolicy[Any, Any] = AsyncBearerTokenCredentialPolicy(
            Credential(setup, logins), _SCOPE
        )
        async with AsyncPipelineClient(
            setup.target.base_url, policies=[*_usual(), policy], transport=transport
        ) as client:
            lone: AsyncBearerTokenCredentialPolicy[Any, Any] = AsyncBearerTokenCredentialPolicy(
                Credential(setup, logins), _SCOPE
            )
            prepared = _prepared(setup, transport)
            answered: Any = SimpleNamespace(status_code=200, headers={})
            answer: Any = PipelineResponse(prepared.http_request, answered, prepared.context)

            async def send(_: object) -> object:
                return answer

            lone.next = SimpleNamespace(send=send)

            async def attach() -> None:
                await lone.send(prepared)

            request = _requesting(client, setup, enforce_https=False)
            yield Session(request=request, attach=attach)


AZURE: Final = (
    Contender(
        name="static header (azure-core)",
        kind="floor",
        library="azure-core",
        open=open_static,
    ),
    Contender(
        name="azure-core",
        kind="peer",
        library="azure-core",
        open=open_azure,
    ),
)


def _usual() -> list[Any]:
    return [AsyncRedirectPolicy(), AsyncRetryPolicy()]


@asynccontextmanager
async def _transport(setup: Setup) -> AsyncIterator[AioHttpTransport]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=setup.connections),
        timeout=aiohttp.ClientTimeout(TIMEOUT),
    ) as session:
        yield AioHttpTransport(session=session, session_owner=False)


def _prepared(setup: Setup, transport: AioHttpTransport) -> PipelineRequest[Any]:
    request = HttpRequest("POST", f"{setup.target.base_url}{PATH}", content=BODY, headers=JSON)
    return PipelineRequest(request, PipelineContext(transport, enforce_https=False))


def _requesting(
    client: AsyncPipelineClient[Any, Any], setup: Setup, **options: Any
) -> Callable[[], Coroutine[Any, Any, int]]:
    url = f"{setup.target.base_url}{PATH}"

    async def request() -> int:
        response = await client.send_request(
            HttpRequest("POST", url, content=BODY, headers=JSON), **options
        )
        return int(response.status_code)

    return request
