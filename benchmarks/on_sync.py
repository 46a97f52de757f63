"""The contenders without an event loop. Each is set up as its documentation says."""

from __future__ import annotations

import time

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import httpx
import httpx2
import requests

from authlib.integrations.httpx_client import OAuth2Client
from azure.core import PipelineClient
from azure.core.pipeline import PipelineContext, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    BearerTokenCredentialPolicy,
    HeadersPolicy,
    RedirectPolicy,
    RetryPolicy,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from google.auth.transport.requests import AuthorizedSession

from benchmarks import on_azure, on_httpx, on_httpx2
from benchmarks.contenders import BODY, JSON, PATH, TIMEOUT, Setup, SyncContender, SyncSession
from benchmarks.on_aiohttp import google_credentials


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.core.credentials import AccessTokenInfo


@contextmanager
def open_static(setup: Setup) -> Iterator[SyncSession]:
    """Open the documented floor of httpx."""
    with _client(httpx, on_httpx.StaticHeader(_header(setup)), setup) as session:
        yield session


@contextmanager
def open_lean(setup: Setup) -> Iterator[SyncSession]:
    """Open the leanest floor."""
    with _client(httpx, on_httpx.LeanHeader(_header(setup)), setup) as session:
        yield session


@contextmanager
def open_own(setup: Setup) -> Iterator[SyncSession]:
    """Open the package."""
    with _client(httpx, on_httpx.own_auth(setup), setup) as session:
        yield session


@contextmanager
def open_httpx_auth(setup: Setup) -> Iterator[SyncSession]:
    """Open httpx-auth."""
    with (
        on_httpx.httpx_auth_of(setup) as auth,
        _client(httpx, auth, setup) as session,
    ):
        yield session


@contextmanager
def open_static_httpx2(setup: Setup) -> Iterator[SyncSession]:
    """Open the documented floor of httpx2."""
    with _client(httpx2, on_httpx2.StaticHeader(_header(setup)), setup) as session:
        yield session


@contextmanager
def open_authlib(setup: Setup) -> Iterator[SyncSession]:
    """Open Authlib; the first token is fetched by its user."""
    with OAuth2Client(**on_httpx2.authlib_options(setup)) as client:
        client.fetch_token(grant_type="client_credentials")
        bare = _attaching(httpx2, client.token_auth, setup)

        def attach() -> None:
            # Like its `request`.
            client.ensure_active_token(client.token)
            bare()

        yield SyncSession(request=_posting(client), attach=attach)


@contextmanager
def open_static_requests(setup: Setup) -> Iterator[SyncSession]:
    """Open the floor of requests: a header of the session."""
    with requests.Session() as session:
        session.headers["Authorization"] = _header(setup)
        yield SyncSession(request=_posting_data(session, setup))


@contextmanager
def open_google(setup: Setup) -> Iterator[SyncSession]:
    """Open google-auth: an `AuthorizedSession`."""
    credentials = google_credentials(setup)
    with AuthorizedSession(credentials) as session:

        def attach() -> None:
            # Like its `request`.
            credentials.before_request(None, "POST", PATH, dict(JSON))

        yield SyncSession(request=_posting_data(session, setup), attach=attach)


class Credential:
    """A `SupportsTokenInfo` that logs in over the pipeline."""

    def __init__(self, setup: Setup, client: PipelineClient[Any, Any]) -> None:
        self._setup = setup
        self._client = client

    def get_token_info(self, *_: str, options: object = None) -> AccessTokenInfo:  # noqa: ARG002
        """Log in."""
        now = time.time()
        response = self._client.send_request(on_azure.login(self._setup))
        return on_azure.token_info(self._setup, now, response)


@contextmanager
def open_static_azure(setup: Setup) -> Iterator[SyncSession]:
    """Open the floor of azure-core: a policy that sets headers."""
    policy = HeadersPolicy({"Authorization": _header(setup)})
    prepared = _prepared(setup)
    with _pipeline(setup, policy) as client:
        yield SyncSession(
            request=_sending(client, setup), attach=lambda: policy.on_request(prepared)
        )


@contextmanager
def open_azure(setup: Setup) -> Iterator[SyncSession]:
    """Open azure-core: its policy for bearer tokens."""
    with _pipeline(setup) as logins:
        credential = Credential(setup, logins)
        policy, lone = (BearerTokenCredentialPolicy(credential, "taxizer") for _ in range(2))
        prepared = _prepared(setup)
        answered = SimpleNamespace(status_code=200, headers={})
        answer = PipelineResponse(prepared.http_request, answered, prepared.context)
        lone.next = SimpleNamespace(send=lambda _: answer)
        with _pipeline(setup, policy) as client:
            request = _sending(client, setup, enforce_https=False)
            yield SyncSession(request=request, attach=lambda: lone.send(prepared))


#: In the order of the tables; the names are those of the async contenders.
SYNC: Final = (
    SyncContender(name="static header (httpx)", kind="floor", library="httpx", open=open_static),
    SyncContender(
        name="static header, leanest (httpx)", kind="floor", library="httpx", open=open_lean
    ),
    SyncContender(name="taxizer_async (httpx)", kind="own", library="httpx", open=open_own),
    SyncContender(name="httpx-auth", kind="peer", library="httpx", open=open_httpx_auth),
    SyncContender(
        name="static header (httpx2)", kind="floor", library="httpx2", open=open_static_httpx2
    ),
    SyncContender(name="Authlib", kind="peer", library="httpx2", open=open_authlib, shared=False),
    SyncContender(
        name="static header (requests)",
        kind="floor",
        library="requests",
        open=open_static_requests,
    ),
    SyncContender(name="google-auth", kind="peer", library="requests", open=open_google),
    SyncContender(
        name="static header (azure-core)",
        kind="floor",
        library="azure-core",
        open=open_static_azure,
    ),
    SyncContender(name="azure-core", kind="peer", library="azure-core", open=open_azure),
)


def _header(setup: Setup) -> str:
    return f"Bearer {on_httpx.own_auth(setup).sync_token().jwt.reveal()}"


@contextmanager
def _client(library: Any, auth: Any, setup: Setup) -> Iterator[SyncSession]:
    """Open a client of *library* (httpx or httpx2) with *auth*."""
    with library.Client(
        auth=auth, base_url=setup.target.base_url, timeout=TIMEOUT, trust_env=False
    ) as client:
        yield SyncSession(request=_posting(client), attach=_attaching(library, auth, setup))


def _posting(client: Any) -> Callable[[], int]:
    return lambda: int(client.post(PATH, content=BODY, headers=JSON).status_code)


def _attaching(library: Any, auth: Any, setup: Setup) -> Callable[[], None]:
    request = library.Request("POST", f"{setup.target.base_url}{PATH}", content=BODY, headers=JSON)
    response = library.Response(200, request=request)

    def attach() -> None:
        # Like `Client._send_handling_auth` of both.
        flow = auth.sync_auth_flow(request)
        try:
            next(flow)
            flow.send(response)
        except StopIteration:
            return
        finally:
            flow.close()

    return attach


def _posting_data(session: requests.Session, setup: Setup) -> Callable[[], int]:
    session.trust_env = False
    url = f"{setup.target.base_url}{PATH}"
    return lambda: int(session.post(url, data=BODY, headers=JSON, timeout=TIMEOUT).status_code)


@contextmanager
def _pipeline(setup: Setup, *policies: object) -> Iterator[PipelineClient[Any, Any]]:
    with PipelineClient(
        setup.target.base_url,
        policies=[RedirectPolicy(), RetryPolicy(), *policies],
        transport=RequestsTransport(use_env_settings=False),
    ) as client:
        yield client


def _prepared(setup: Setup) -> PipelineRequest[Any]:
    context = PipelineContext(None, enforce_https=False)
    return PipelineRequest(_invoice(setup), context)


def _invoice(setup: Setup) -> HttpRequest:
    return HttpRequest("POST", f"{setup.target.base_url}{PATH}", content=BODY, headers=JSON)


def _sending(client: PipelineClient[Any, Any], setup: Setup, **options: Any) -> Callable[[], int]:
    return lambda: int(client.send_request(_invoice(setup), **options).status_code)
