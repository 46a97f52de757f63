"""The lifespan: one client from the start to the end, the user's own within it, and no exception groups."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import subprocess
import sys

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from taxizer_async import ConfigurationError, CredentialsRejectedError, TaxizerClient
from taxizer_async.fastapi import Taxizer, taxizer_lifespan
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault, Sandbox
from tests.integrations.fastapi.conftest import MakeClient
from tests.support.limits import HANG


on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def test_the_client_is_open_for_as_long_as_it_lasts(make_client: MakeClient) -> None:
    """The client is opened at the start, logs in by itself, and is closed at the end."""
    app = Starlette()
    async with taxizer_lifespan(make_client)(app) as state:
        client: TaxizerClient = state["taxizer"]
        with anyio.fail_after(HANG):
            await client.auth.token()
        assert app.state.taxizer is client
        assert client.auth.status().keep_fresh_running
        assert not client.is_closed

    assert client.is_closed
    assert not client.auth.status().keep_fresh_running


async def test_a_store_that_can_not_be_used_is_told_at_the_start(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The application starts all the same, and its requests get a token."""
    tmp_path.chmod(0o777)

    def make_client() -> TaxizerClient:
        return TaxizerClient(
            sandbox.credentials, base_url=sandbox.base_url, store=FileTokenStore(tmp_path)
        )

    async with taxizer_lifespan(make_client, keep_fresh=False)(Starlette()) as state:
        assert "the token store can't be used" in caplog.text
        await state["taxizer"].auth.token()


@pytest.mark.report(143)
@pytest.mark.parametrize("keep_fresh", [True, False])
async def test_it_may_log_in_at_the_start_or_fail(
    make_client: MakeClient, sandbox: Sandbox, *, keep_fresh: bool
) -> None:
    """With log_in_at_start an application has a token once it runs, and with a wrong secret never runs."""
    app = Starlette()
    lifespan = taxizer_lifespan(make_client, keep_fresh=keep_fresh, log_in_at_start=True)
    async with lifespan(app) as state:
        assert state["taxizer"].auth.status().usable
    sandbox.fail("connect", Fault.status(400))
    with pytest.raises(CredentialsRejectedError):
        async with lifespan(app):
            pytest.fail("it has started")

    assert app.state.taxizer.is_closed


def test_a_client_where_a_callable_is_due_is_told() -> None:
    """At once, and not when the application starts."""
    wrong: Any = object()
    with pytest.raises(ConfigurationError, match=r"make_client must be a callable .*, not object"):
        taxizer_lifespan(wrong)


async def make_none() -> None:
    """Return no client, and that late."""


@pytest.mark.parametrize(("make", "kind"), [(object, "object"), (make_none, "coroutine")])
async def test_what_makes_no_client_is_told(make: Any, kind: str) -> None:
    """It ends the start, and a coroutine is not left behind."""
    with pytest.raises(ConfigurationError, match=f"make_client must return a client, not {kind}"):
        async with taxizer_lifespan(make)(Starlette()):
            pytest.fail("it has started")
    gc.collect()


async def test_keep_fresh_is_a_choice(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Without `keep_fresh` the first request logs in."""
    async with taxizer_lifespan(make_client, keep_fresh=False)(Starlette()) as state:
        await anyio.wait_all_tasks_blocked()
        assert not state["taxizer"].auth.status().keep_fresh_running

    assert sandbox.counters.connects == 0


async def test_the_users_lifespan_runs_within_and_adds_its_state(make_client: MakeClient) -> None:
    """The user's lifespan finds the client open at its start and at its end, and its state is kept."""
    seen: list[bool] = []

    @contextlib.asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        seen.append(app.state.taxizer.is_closed)
        yield {"database": "db"}
        status = app.state.taxizer.auth.status()
        seen.append(app.state.taxizer.is_closed or not status.keep_fresh_running)

    async with taxizer_lifespan(make_client, lifespan=own)(Starlette()) as state:
        await anyio.wait_all_tasks_blocked()
        assert set(state) == {"database", "taxizer"}

    assert seen == [False, False]


@pytest.mark.parametrize("keep_fresh", [True, False])
@pytest.mark.parametrize("failure", [ValueError("mine"), SystemExit(3)], ids=["error", "exit"])
@pytest.mark.parametrize("when", ["start", "end"])
async def test_an_error_of_the_users_lifespan_is_raised_as_it_is(
    make_client: MakeClient, *, keep_fresh: bool, failure: BaseException, when: str
) -> None:
    """The error is in no exception group, and the client is closed."""
    app = Starlette()

    @contextlib.asynccontextmanager
    async def own(_: Starlette) -> AsyncGenerator[None]:
        if when == "start":
            raise failure
        yield
        raise failure

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - it is compared below
        async with taxizer_lifespan(make_client, lifespan=own, keep_fresh=keep_fresh)(app):
            assert when == "end"

    assert caught.value is failure
    assert app.state.taxizer.is_closed


async def test_an_error_of_the_server_passes_the_users_lifespan(make_client: MakeClient) -> None:
    """The user's lifespan, here one without state, sees an error of the server, which goes on as it is."""
    failure, seen = OSError("server"), []

    @contextlib.asynccontextmanager
    async def own(_: Starlette) -> AsyncGenerator[None]:
        try:
            yield
        except OSError as error:
            seen.append(error)
            raise

    with pytest.raises(OSError, match="server") as caught:
        async with taxizer_lifespan(make_client, lifespan=own)(Starlette()):
            raise failure

    assert seen == [failure]
    assert caught.value is failure


async def test_a_cancelled_lifespan_closes_the_client(make_client: MakeClient) -> None:
    """A cancelled lifespan ends with its scope, and closes the client."""
    app = Starlette()
    with anyio.CancelScope() as scope:
        async with taxizer_lifespan(make_client)(app):
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert app.state.taxizer.is_closed


@on_asyncio
async def test_a_lifespan_task_that_is_cancelled_ends_as_cancelled(make_client: MakeClient) -> None:
    """A cancellation by asyncio is raised as `CancelledError`."""
    app, started = Starlette(), asyncio.Event()

    async def serve() -> None:
        async with taxizer_lifespan(make_client)(app):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert app.state.taxizer.is_closed


async def test_the_store_is_closed_after_the_client(make_client: MakeClient) -> None:
    """A context manager in place of the client closes its store once the client is closed."""
    closed: list[bool] = []

    @contextlib.asynccontextmanager
    async def open_client() -> AsyncGenerator[TaxizerClient]:
        async with make_client() as client:
            yield client
        closed.append(client.is_closed)

    async with taxizer_lifespan(open_client)(Starlette()) as state:
        assert isinstance(state["taxizer"], TaxizerClient)

    assert closed == [True]


async def test_a_keeper_that_fails_ends_nothing(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of keep_fresh is logged, and requests go on."""

    async def fail() -> None:
        raise ZeroDivisionError

    client = make_client()
    monkeypatch.setattr(client.auth, "keep_fresh", fail)
    with caplog.at_level(logging.ERROR, "taxizer_async"):
        async with taxizer_lifespan(lambda: client)(Starlette()):
            await anyio.wait_all_tasks_blocked()
            response = await client.post("/v1/Invoices/GenerateInvoice", json={})

    assert response.status_code == 200
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("keep_fresh has failed (ZeroDivisionError), so requests renew the token", None)
    ]


def test_by_default_the_client_is_that_of_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is read when the application starts, not when it is imported."""
    app = FastAPI(lifespan=taxizer_lifespan())

    @app.get("/where")
    async def where(taxizer: Taxizer) -> str:
        return taxizer.auth.base_url

    with pytest.raises(ConfigurationError, match="TAXIZER_CLIENT_ID"), TestClient(app):
        pytest.fail("it has started")
    monkeypatch.setenv("TAXIZER_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("TAXIZER_CLIENT_ID", sandbox.client_id)
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", sandbox.credentials.client_secret.reveal())
    with TestClient(app) as tester:
        assert tester.get("/where").json() == sandbox.base_url


def test_an_application_starts_again_with_a_new_client(make_client: MakeClient) -> None:
    """A second start has a new, open client."""
    made: list[TaxizerClient] = []

    def make() -> TaxizerClient:
        made.append(make_client())
        return made[-1]

    app = FastAPI(lifespan=taxizer_lifespan(make))

    @app.get("/")
    async def submit(taxizer: Taxizer) -> int:
        return (await taxizer.post("/v1/Devices/Register", json={})).status_code

    for _ in range(2):
        with TestClient(app) as tester:
            assert tester.get("/").json() == 200

    assert [client.is_closed for client in made] == [True, True]


def test_a_router_may_bring_it(make_client: MakeClient) -> None:
    """The lifespan of an included router runs with the application's."""
    router = APIRouter(lifespan=taxizer_lifespan(make_client))

    @router.get("/inner")
    async def submit(taxizer: Taxizer) -> int:
        return (await taxizer.post("/v1/Devices/Register", json={})).status_code

    app = FastAPI()
    app.include_router(router)
    with TestClient(app) as tester:
        assert tester.get("/inner").json() == 200


def test_a_missing_extra_is_named() -> None:
    """Without FastAPI the import fails, and says what to install."""
    code = "import sys; sys.modules['fastapi'] = None; import taxizer_async.fastapi"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stderr.strip().endswith(
        'taxizer_async.fastapi needs FastAPI: pip install "taxizer-async[fastapi]"'
    )
