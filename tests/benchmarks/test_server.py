"""The benchmarks' server counts a peer's logins over OAuth 2 like those of the package."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from benchmarks.server import translate_request
from benchmarks.service import Service, Site
from taxizer_async import Credentials, TaxizerClient


PATH = "/v1/Invoices"


@pytest.fixture(name="site")
def _site() -> Iterator[Site]:
    with Service() as service:
        yield service.open("site", lifetime=90)


def ask(site: Site, **form: str) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.post(f"{site.target.base_url}/oauth/token", data=form)


def log_in(site: Site) -> httpx.Response:
    return ask(
        site,
        grant_type="client_credentials",
        client_id=site.target.client_id,
        client_secret=site.target.client_secret,
    )


def status_with(site: Site, token: str) -> int:
    with httpx.Client(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return client.get(f"{site.target.base_url}{PATH}", headers=headers).status_code


def test_a_login_over_oauth_is_a_connect(site: Site) -> None:
    """Its token is good at the API, and the sandbox has counted it."""
    answer = log_in(site).json()

    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 90
    assert status_with(site, answer["access_token"]) == 200
    assert site.counters()["connects_ok"] == 1


def test_a_refresh_over_oauth_rotates(site: Site) -> None:
    """The second use of a refresh token is refused, and counted as such."""
    first = log_in(site).json()["refresh_token"]
    second = ask(site, grant_type="refresh_token", refresh_token=first)
    again = ask(site, grant_type="refresh_token", refresh_token=first)

    counters = site.counters()
    assert second.json()["refresh_token"] != first
    assert again.status_code == 400
    assert (counters["refreshes"], counters["refreshes_ok"], counters["reuses"]) == (2, 1, 1)


def test_a_wrong_secret_is_refused(site: Site) -> None:
    """The facade accepts only what the sandbox accepts."""
    answer = ask(
        site, grant_type="client_credentials", client_id=site.target.client_id, client_secret="no"
    )

    assert answer.status_code == 400
    assert site.counters()["connects_ok"] == 0


def test_the_pair_may_come_as_basic_auth() -> None:
    """RFC 6749, 2.3.1: both are form-encoded first."""
    authorization = httpx.BasicAuth("app", "a%2Fb%3A")._auth_header.encode()

    path, fields = translate_request(b"grant_type=client_credentials", authorization)

    assert path == "/v1/Auth/Connect"
    assert fields == {"clientId": "app", "clientSecret": "a/b:"}


def test_commands_reach_the_sandbox(site: Site) -> None:
    """Down, up, revoke and reset do what their names say."""
    site.down()
    while_down = log_in(site)
    site.up()
    token = log_in(site).json()["access_token"]
    site.revoke()
    revoked = status_with(site, token)
    exchanges = site.exchanges()
    site.reset()

    assert while_down.status_code == 503
    assert revoked == 401
    assert [entry["status"] for entry in exchanges] == [503, 200]
    assert site.counters()["exchanges"] == 0


def test_a_token_may_claim_a_longer_life(site: Site) -> None:
    """A longer stated life suits contenders that renew a fixed time ahead."""
    site.set(overstatement=225)

    assert log_in(site).json()["expires_in"] == 315


async def test_taxizers_own_contract_stays(site: Site) -> None:
    """The facade leaves Taxizer's own endpoints as they are."""
    target = site.target
    credentials = Credentials(target.client_id, target.client_secret)
    async with TaxizerClient(credentials, base_url=target.base_url, trust_env=False) as client:
        response = await client.post(PATH, json={})

    assert response.status_code == 200
    assert site.counters()["connects"] == 1


def test_an_unknown_command_ends_the_server() -> None:
    """A misspelt command ends the server."""
    with Service() as service:
        service.open("site")
        with pytest.raises(RuntimeError, match="has ended"):
            service.send("explode", "site")
