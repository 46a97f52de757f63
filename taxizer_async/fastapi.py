"""
For FastAPI and Starlette: one client for the whole application, responses for its errors, health probes.

Needs the extra: `pip install "taxizer-async[fastapi]"`. Nothing here decides anything about tokens.

```python
app = FastAPI(lifespan=taxizer_lifespan())
add_exception_handlers(app)
app.include_router(health_router())


@app.post("/invoices")
async def submit(invoice: Invoice, taxizer: Taxizer) -> Receipt: ...
```

With `Starlette(lifespan=taxizer_lifespan())`, `get_taxizer(request)` takes the place of `Taxizer`, and
`health_routes()` that of `health_router()`.

An application with several accounts names each; one lifespan runs within the other:

```python
north = taxizer_lifespan(make_north, name="north")
app = FastAPI(lifespan=taxizer_lifespan(make_south, name="south", lifespan=north))
North = Annotated[TaxizerClient, Depends(named_taxizer("north"))]
```
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

import anyio
import attrs

from taxizer_async._auth.lifespan import check_store, log_end_of_keep_fresh
from taxizer_async._auth.on_httpx import TaxizerAuth, TaxizerClient
from taxizer_async._core.errors import AuthError, ConfigurationError
from taxizer_async._core.models import AuthStatus


try:
    from fastapi import APIRouter, Depends
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from starlette.types import ExceptionHandler, Lifespan, StatefulLifespan
    from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
except ImportError as _missing:
    _msg = 'taxizer_async.fastapi needs FastAPI: pip install "taxizer-async[fastapi]"'
    raise ImportError(_msg) from _missing


__all__ = [
    "Taxizer",
    "add_exception_handlers",
    "get_taxizer",
    "health_router",
    "health_routes",
    "named_taxizer",
    "taxizer_lifespan",
]

_STATE: Final = "taxizer"
#: Where an application keeps which of its lifespans run; no `name` leads there.
_RUNNING: Final = "_taxizer_lifespans"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_METHODS: Final = ["GET", "HEAD"]
#: The WebSocket close codes (IANA registry) that mean the same as the statuses.
_CLOSE_CODES: Final = {HTTPStatus.SERVICE_UNAVAILABLE: 1013, HTTPStatus.BAD_GATEWAY: 1014}
_DETAILS: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE: "The login at Taxizer does not work at this time: try again later.",
    HTTPStatus.BAD_GATEWAY: "The login at Taxizer does not work, and trying again does not help.",
}


def taxizer_lifespan(
    make_client: Callable[[], AbstractAsyncContextManager[TaxizerClient]] = TaxizerClient.from_env,
    *,
    lifespan: Lifespan[Any] | None = None,
    keep_fresh: bool = True,
    name: str | None = None,
    log_in_at_start: bool = False,
) -> StatefulLifespan[Any]:
    """
    Return a lifespan that opens one client for all requests, and closes it at the end.

    It has to be entered and left in one task, as servers and the `TestClient` do.

    A token store is checked at the start, and what is wrong with it is logged. The application starts all
    the same: requests need no store, and one that is down for now must not keep all pods down. Two
    lifespans of one application need different names: otherwise the start raises a `ConfigurationError`.

    Args:
        make_client: Called once per start; returns the client, or a context manager that yields one and
            also closes what it uses, such as a Redis store. By default the client takes its credentials from
            the environment.
        lifespan: Your own, which runs while the client is open, as `app.state.taxizer`. What it yields is
            the state of requests, as ever; what it raises is raised unchanged.
        keep_fresh: Whether to renew the token ahead of need while the application runs, so that no request
            waits for that.
        name: Distinguishes the clients of an application with several accounts; see `named_taxizer`. The
            client called `north` is `app.state.taxizer_north`.
        log_in_at_start: Whether to log in before the application starts, and not to start if that fails: an
            `AuthError` ends the start then. It takes 30 s at most. Use it where a rollout with a wrong secret
            must stop, and without a readiness probe; an outage of Taxizer keeps new processes down.
    """
    key = _key(name)
    if not callable(make_client):
        msg = f"make_client must be a callable that returns a client, not {type(make_client).__name__}"
        raise ConfigurationError(msg)

    @contextlib.asynccontextmanager
    async def run(app: Starlette) -> AsyncGenerator[Mapping[str, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            start = stack.enter_context(_noted_start(app, name, run))
            made = make_client()
            if not isinstance(made, AbstractAsyncContextManager):
                if inspect.iscoroutine(made):
                    made.close()
                msg = f"make_client must return a client, not {type(made).__name__}"
                raise ConfigurationError(msg)
            client = await stack.enter_async_context(made)
            start.client = client
            setattr(app.state, key, client)
            await check_store(client.auth)
            if log_in_at_start:
                await client.auth.token()
            if keep_fresh:
                await stack.enter_async_context(_kept_fresh(client.auth))
            state = await stack.enter_async_context(lifespan(app)) if lifespan else None
            yield {**(state or {}), key: client}

    return run


def named_taxizer(name: str) -> Callable[[HTTPConnection], TaxizerClient]:
    """
    Return the dependency on the client of `taxizer_lifespan(name=name)`.

    It is the same object each time, for `dependency_overrides`. Without FastAPI, call it with a request.
    """
    return _dependency(name)


def get_taxizer(connection: HTTPConnection) -> TaxizerClient:
    """
    Return the application's client: the dependency behind `Taxizer`, for `dependency_overrides`.

    Requests and WebSockets, also those of mounted applications, have the same one.

    Raises:
        RuntimeError: If the application has no `taxizer_lifespan`, or it was not run.
    """
    return _find_client(connection, None)


#: An endpoint's parameter of this type is the application's client.
Taxizer = Annotated[TaxizerClient, Depends(get_taxizer)]


def add_exception_handlers(app: Starlette) -> None:
    """
    Answer an `AuthError` that an endpoint does not catch with problem+json, without anything secret.

    A `retryable` one (an outage, a vault that is down, a gateway's page) is a 503, with the seconds until the
    next attempt in `Retry-After`; rejected credentials are a 502. The cause is in the log and in `status()`.
    A WebSocket that is not yet accepted is refused with the same response; an open one is closed with 1013
    or 1014.

    A `ConfigurationError`, and Taxizer's response to a request, are for the application to handle. A mounted
    application needs handlers of its own.
    """
    app.add_exception_handler(AuthError, cast("ExceptionHandler", _answer_auth_error))


def health_router(prefix: str = "/health", *, name: str | None = None) -> APIRouter:
    """
    Return a router with the two probes of an orchestrator, as JSON without anything secret.

    `{prefix}/live` is 200 as long as the process answers, and never asks Taxizer: a restart would not end an
    outage there, and would lose a token that may still be good. It is meant for Kubernetes' livenessProbe.

    `{prefix}/ready` returns `status()`. While `keep_fresh` runs it is 503 until there is a usable token, so a
    rollout with a wrong secret is never done. Without `keep_fresh` a process that has not logged in is
    ready, as its first request will log in, and it is 503 while calls fail at once, from memory. It is meant
    for a readinessProbe, which takes a pod out of its Service and never restarts it, or for an alert. An
    outage hits all pods at once: if they should go on serving everything else, use live for both probes.

    The response holds the texts of errors, so keep it from the public.

    Args:
        prefix: Where the probes are.
        name: That of the `taxizer_lifespan` whose client it is about.
    """
    router = APIRouter(prefix=prefix)
    client: Any = Depends(get_taxizer if name is None else named_taxizer(name))

    async def ready(taxizer: TaxizerClient = client) -> JSONResponse:
        return _report_readiness(taxizer.auth.status())

    router.add_api_route("/live", _report_life, methods=_METHODS, include_in_schema=False)
    router.add_api_route("/ready", ready, methods=_METHODS, include_in_schema=False)
    return router


def health_routes(prefix: str = "/health", *, name: str | None = None) -> list[Route]:
    """Return the routes of `health_router`, for `Starlette(routes=[*health_routes(), ...])`."""

    async def ready(request: Request) -> JSONResponse:
        return _report_readiness(_find_client(request, name).auth.status())

    return [
        Route(f"{prefix}/live", _report_life, include_in_schema=False),
        Route(f"{prefix}/ready", ready, include_in_schema=False),
    ]


def _key(name: str | None) -> str:
    return _STATE if name is None else f"{_STATE}_{name}"


@functools.cache
def _dependency(name: str) -> Callable[[HTTPConnection], TaxizerClient]:
    def get_named_taxizer(connection: HTTPConnection) -> TaxizerClient:
        return _find_client(connection, name)

    return get_named_taxizer


def _find_client(connection: HTTPConnection, name: str | None) -> TaxizerClient:
    key = _key(name)
    client: TaxizerClient | None = getattr(connection.state, key, None)
    app: Starlette | None = connection.scope.get("app")
    if client is None and app is not None and _starts(app, key):
        # Tests that run the lifespan by hand, and go over ASGITransport, pass no state.
        client = getattr(app.state, key, None)
    if client is None:
        own, dependency = (
            ("taxizer_lifespan()", "get_taxizer")
            if name is None
            else (f"taxizer_lifespan(name={name!r})", f"named_taxizer({name!r})")
        )
        msg = (
            f"there is no TaxizerClient, as no {own} was run: give the application lifespan={own}, and "
            "in a test enter the TestClient (with TestClient(app) as client: ...), or override the "
            f"dependency {dependency}"
        )
        raise RuntimeError(msg)
    return client


@attrs.define(eq=False)
class _Start:
    """One start of *lifespan*, and the client that it has opened."""

    lifespan: object
    client: TaxizerClient | None = None


def _starts(app: Starlette, key: str) -> list[_Start]:
    """Return the starts, not yet ended, of the lifespan of *app* that has its client as *key* in the state."""
    if not hasattr(app.state, _RUNNING):
        setattr(app.state, _RUNNING, {})
    running: dict[str, list[_Start]] = getattr(app.state, _RUNNING)
    return running.setdefault(key, [])


@contextlib.contextmanager
def _noted_start(app: Starlette, name: str | None, lifespan: object) -> Generator[_Start]:
    key = _key(name)
    starts = _starts(app, key)
    # A test may start one application twice at a time.
    if any(each.lifespan is not lifespan for each in starts):
        problem = "have no name" if name is None else f"are called {name!r}"
        msg = (
            f"two taxizer_lifespans of one application {problem}: give each its own name=, and find its "
            "client by named_taxizer(name)"
        )
        raise ConfigurationError(msg)
    start = _Start(lifespan)
    starts.append(start)
    try:
        yield start
    finally:
        starts.remove(start)
        for other in starts:
            if other.client is not None:
                setattr(app.state, key, other.client)


@contextlib.asynccontextmanager
async def _kept_fresh(auth: TaxizerAuth) -> AsyncGenerator[None]:
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_keep_fresh, auth)
        try:
            yield
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - the group would wrap it
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _keep_fresh(auth: TaxizerAuth) -> None:
    try:
        await auth.keep_fresh()
    except Exception as error:  # noqa: BLE001 - it is logged
        # Raised, it would end the lifespan, while the server went on with a closed client.
        log_end_of_keep_fresh(error)


async def _report_life(_: Request) -> JSONResponse:
    return JSONResponse({"live": True}, headers=_NO_STORE)


def _report_readiness(status: AuthStatus) -> JSONResponse:
    ready = _is_ready(status)
    content = {"ready": ready, **attrs.asdict(status)}
    content["retry_at"] = status.retry_at and status.retry_at.isoformat()
    code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse(content, code, headers=_NO_STORE)


def _is_ready(status: AuthStatus) -> bool:
    if status.usable or status.keep_fresh_running:
        return status.usable
    # Nothing but a request asks for a token then, and one that is not ready gets none.
    return status.retry_at is None or status.retry_at <= datetime.now(UTC)


async def _answer_auth_error(connection: HTTPConnection, error: AuthError) -> JSONResponse | None:
    code = HTTPStatus.SERVICE_UNAVAILABLE if error.retryable else HTTPStatus.BAD_GATEWAY
    answer = _problem(code, error.retry_at if error.retryable else None)
    if not isinstance(connection, WebSocket):
        return answer
    # Its client may leave at any moment, and then there is nobody to tell.
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await _refuse(connection, code, answer)
    return None


def _problem(code: HTTPStatus, retry_at: datetime | None) -> JSONResponse:
    problem = {
        "type": "about:blank",
        "title": code.phrase,
        "status": int(code),
        "detail": _DETAILS[code],
    }
    headers = dict(_NO_STORE)
    if retry_at is not None:
        left = (retry_at - datetime.now(UTC)).total_seconds()
        headers["Retry-After"] = str(max(1, math.ceil(left)))
    return JSONResponse(problem, code, headers=headers, media_type="application/problem+json")


async def _refuse(websocket: WebSocket, code: HTTPStatus, answer: JSONResponse) -> None:
    state = websocket.application_state
    if websocket.client_state is WebSocketState.DISCONNECTED:
        return
    if state is WebSocketState.CONNECTED:
        await websocket.close(_CLOSE_CODES[code], _DETAILS[code])
    elif state is WebSocketState.CONNECTING:
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(answer)
        else:
            await websocket.close(_CLOSE_CODES[code])
