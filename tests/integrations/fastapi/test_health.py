"""The probes: liveness, readiness, and that an outage elsewhere restarts no process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, NoReturn

import anyio
import anyio.lowlevel
import attrs
import pytest

from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from taxizer_async import AuthStatus, Credentials, RenewalPolicy, TaxizerClient, TokenState
from taxizer_async.fastapi import get_taxizer, health_router, health_routes, taxizer_lifespan
from taxizer_async.testing import Fault, Sandbox
from tests.integrations.fastapi.conftest import MakeClient, asking
from tests.support.limits import HANG


OUTAGE = Fault.status(503, headers={"Retry-After": "40"})

NOTHING_YET = AuthStatus(
    state=TokenState.NONE,
    usable=False,
    expires_in=None,
    refreshable=False,
    keep_fresh_running=False,
    last_error=None,
    retry_at=None,
    logins=0,
    renewals=0,
    adoptions=0,
    store_failing=False,
)
FAILING = attrs.evolve(
    NOTHING_YET, last_error="an outage", retry_at=datetime.now(UTC) + timedelta(hours=1)
)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@attrs.frozen
class StandIn:
    """The part of a client that a probe uses."""

    standing: AuthStatus

    @property
    def auth(self) -> StandIn:
        return self

    def status(self) -> AuthStatus:
        return self.standing


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(NOTHING_YET, 200, id="cold"),
        pytest.param(attrs.evolve(NOTHING_YET, keep_fresh_running=True), 503, id="cold, kept"),
        pytest.param(attrs.evolve(NOTHING_YET, state=TokenState.EXPIRED), 200, id="idle for long"),
        pytest.param(attrs.evolve(FAILING, usable=True), 200, id="failing with a token"),
        pytest.param(FAILING, 503, id="failing"),
        pytest.param(attrs.evolve(FAILING, keep_fresh_running=True), 503, id="failing, kept"),
        # Not ready, it would get no requests, and so never try again.
        pytest.param(attrs.evolve(FAILING, retry_at=LONG_AGO), 200, id="has failed"),
        # keep_fresh tries again, so it is ready once that has succeeded.
        pytest.param(
            attrs.evolve(FAILING, retry_at=LONG_AGO, keep_fresh_running=True),
            503,
            id="has failed, kept",
        ),
    ],
)
def test_when_it_is_ready(app: FastAPI, status: AuthStatus, code: int) -> None:
    """A process is ready unless a request would fail, and alive in any case."""
    app.dependency_overrides[get_taxizer] = lambda: StandIn(status)
    tester = TestClient(app)
    ready = tester.get("/health/ready")

    assert (ready.status_code, ready.json()["ready"]) == (code, code == 200)
    assert tester.get("/health/live").status_code == 200


@pytest.mark.report(143)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_where_keep_fresh_runs_it_is_ready_once_there_is_a_token(
    make_client: MakeClient, sandbox: Sandbox, backend: Literal["asyncio", "trio"]
) -> None:
    """A rollout is done once a process has its token, and never with a wrong secret."""
    app = FastAPI(lifespan=taxizer_lifespan(make_client))
    app.include_router(health_router())
    with sandbox.hold("connect") as gate, TestClient(app, backend=backend) as tester:
        gate.wait_until(1)
        pending = tester.get("/health/ready")
        gate.release()
        while tester.get("/health/ready").status_code != 200:
            pass
    sandbox.fail("connect", Fault.status(400))
    with TestClient(app, backend=backend) as tester:
        while not (refused := tester.get("/health/ready")).json()["last_error"]:
            assert refused.status_code == 503

    assert (pending.status_code, pending.json()["last_error"]) == (503, None)
    assert refused.status_code == 503


def test_each_account_has_its_own_readiness(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The probes of a name tell of the client of that name alone."""
    wrong = Credentials("south", "wrong")
    south = taxizer_lifespan(lambda: TaxizerClient(wrong, base_url=sandbox.base_url), name="south")
    app = FastAPI(
        lifespan=taxizer_lifespan(make_client, name="north", log_in_at_start=True, lifespan=south)
    )
    app.include_router(health_router("/health/north", name="north"))
    app.router.routes.extend(health_routes("/health/south", name="south"))
    with TestClient(app) as tester:
        answers = [tester.get(f"/health/{name}/ready").status_code for name in ("north", "south")]

    assert answers == [200, 503]


def test_it_is_ready_before_and_after_its_login(app: FastAPI, sandbox: Sandbox) -> None:
    """A probe causes no login; the first request does."""
    with TestClient(app) as tester:
        cold = tester.get("/health/ready")
        exchanges = sandbox.counters.exchanges
        tester.post("/invoices")
        warm = tester.get("/health/ready")

    assert exchanges == 0
    assert (cold.status_code, cold.json()["state"]) == (200, "none")
    assert (warm.status_code, warm.json()["state"]) == (200, "fresh")
    assert warm.headers["Cache-Control"] == "no-store"


def test_it_shows_the_status_without_a_secret(app: FastAPI, sandbox: Sandbox) -> None:
    """The answer has each field of the status, and no secret."""
    with TestClient(app) as tester:
        tester.post("/invoices")
        told = tester.get("/health/ready")
        assert tester.portal is not None
        token = tester.portal.call(app.state.taxizer.auth.token)

    assert set(told.json()) == {"ready"} | {field.name for field in attrs.fields(AuthStatus)}
    for secret in (token.jwt, token.refresh_token, sandbox.credentials.client_secret):
        assert secret.reveal() not in told.text


@pytest.mark.parametrize("fault", [OUTAGE, Fault.status(400)], ids=["outage", "rejected"])
def test_it_is_alive_and_not_ready_while_no_token_can_be_had(
    app: FastAPI, sandbox: Sandbox, fault: Fault
) -> None:
    """Liveness stays well; readiness says why it fails, and until when."""
    sandbox.fail("connect", fault)
    with TestClient(app) as tester:
        tester.post("/invoices")
        ready, live = tester.get("/health/ready"), tester.get("/health/live")

    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["last_error"]
    assert datetime.fromisoformat(ready.json()["retry_at"]) > datetime.now(UTC)
    assert sandbox.counters.connects == 1


async def test_it_is_ready_again_without_a_request_once_the_outage_is_over(
    sandbox: Sandbox,
) -> None:
    """keep_fresh tries by itself, so a pod without requests becomes ready again."""
    app = FastAPI()
    app.include_router(health_router())
    sandbox.fail("connect", Fault.status(503))
    lifespan = taxizer_lifespan(
        lambda: TaxizerClient(
            sandbox.credentials, base_url=sandbox.base_url, policy=RenewalPolicy(backoff=60.0)
        )
    )
    async with lifespan(app) as state, asking(app, state) as asker:

        async def wait_for(code: int) -> None:
            with anyio.fail_after(HANG):
                while (await asker.get("/health/ready")).status_code != code:
                    await anyio.lowlevel.checkpoint()

        await wait_for(503)
        sandbox.heal()
        await wait_for(200)

    assert sandbox.counters.resources == 0


def test_the_paths_are_a_choice_and_the_schema_has_none_of_them(app: FastAPI) -> None:
    """The probes may have any path, and are not in the schema."""
    app.include_router(health_router("/internal/taxizer"))
    with TestClient(app) as tester:
        for probe in ("live", "ready"):
            assert tester.get(f"/internal/taxizer/{probe}").status_code == 200
            assert tester.head(f"/health/{probe}").status_code == 200
        paths = tester.get("/openapi.json").json()["paths"]

    assert set(paths) == {"/invoices"}


def test_the_router_keeps_the_applications_guards(app: FastAPI) -> None:
    """A dependency of the included router guards the probes."""

    def refuse() -> NoReturn:
        raise HTTPException(401)

    guarded = FastAPI()
    guarded.include_router(health_router(), dependencies=[Depends(refuse)])
    app.mount("/guarded", guarded)
    with TestClient(app) as tester:
        answers = {
            tester.get(f"/guarded/health/{probe}").status_code for probe in ("live", "ready")
        }

    assert answers == {401}


async def test_starlette_alone_has_the_same() -> None:
    """The routes need no FastAPI."""
    app = Starlette(routes=health_routes())
    for status, code in [(NOTHING_YET, 200), (FAILING, 503)]:
        async with asking(app, {"taxizer": StandIn(status)}) as asker:
            assert (await asker.get("/health/ready")).status_code == code
            assert (await asker.head("/health/ready")).status_code == code
            assert (await asker.get("/health/live")).json() == {"live": True}
