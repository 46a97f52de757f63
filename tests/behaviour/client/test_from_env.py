"""`TaxizerClient.from_env` takes everything from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taxizer_async import DEFAULT_BASE_URL, ConfigurationError, CredentialsRejectedError
from taxizer_async.testing import ManualClock, Sandbox

from .libraries import Library


@pytest.fixture(name="client_class")
def _client_class(library: Library) -> Any:
    return library.adapter.TaxizerClient


@pytest.mark.usefixtures("environment")
async def test_the_environment_is_enough(client_class: Any, sandbox: Sandbox) -> None:
    """With three variables set from_env needs no argument."""
    async with client_class.from_env() as client:
        assert (await client.get("/v1/x")).status_code == 200
    assert sandbox.counters.connects_ok == 1


@pytest.mark.parametrize("value", [None, ""])
async def test_the_documented_host_is_the_default(
    client_class: Any, environment: pytest.MonkeyPatch, value: str | None
) -> None:
    """Without TAXIZER_BASE_URL, or with an empty one, the documented host is used."""
    environment.delenv("TAXIZER_BASE_URL")
    if value is not None:
        environment.setenv("TAXIZER_BASE_URL", value)
    async with client_class.from_env() as client:
        assert str(client.base_url).rstrip("/") == DEFAULT_BASE_URL


async def test_arguments_go_before_the_environment(
    client_class: Any, sandbox: Sandbox, environment: pytest.MonkeyPatch
) -> None:
    """A base_url that is given wins over TAXIZER_BASE_URL, and other options pass through."""
    environment.setenv("TAXIZER_BASE_URL", "https://elsewhere.example")
    async with client_class.from_env(base_url=sandbox.base_url, timeout=3) as client:
        assert (await client.get("/v1/x")).status_code == 200
        assert client.timeout.read == 3


@pytest.mark.parametrize("name", ["TAXIZER_CLIENT_ID", "TAXIZER_CLIENT_SECRET"])
def test_a_missing_variable_is_told_at_once(
    client_class: Any, environment: pytest.MonkeyPatch, name: str
) -> None:
    """An incomplete environment fails at construction, with the name of the missing variable."""
    environment.delenv(name)
    with pytest.raises(ConfigurationError, match=name):
        client_class.from_env()


def test_a_wrong_base_url_in_the_environment_is_a_typed_error(
    client_class: Any, environment: pytest.MonkeyPatch
) -> None:
    """A TAXIZER_BASE_URL that is neither https nor loopback is refused."""
    environment.setenv("TAXIZER_BASE_URL", "http://api.example")
    with pytest.raises(ConfigurationError, match="must be https"):
        client_class.from_env()


async def test_a_rotated_secret_is_read_anew(
    client_class: Any, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A secret's file that has changed is read at the next login, without a restart."""
    file = tmp_path / "secret"
    file.write_text("old-secret\n")
    environment.delenv("TAXIZER_CLIENT_SECRET")
    environment.setenv("TAXIZER_CLIENT_SECRET_FILE", str(file))
    clock = ManualClock()
    async with client_class.from_env(clock=clock) as client:
        with pytest.raises(CredentialsRejectedError):
            await client.get("/v1/x")
        file.write_text("sandbox-secret\n")
        clock.advance(2)

        assert (await client.get("/v1/x")).status_code == 200


@pytest.mark.usefixtures("environment")
async def test_a_subclass_stays_one(client_class: Any) -> None:
    """The class that from_env is called on is what it returns."""

    class Mine(client_class):  # type: ignore[misc]
        pass

    async with Mine.from_env() as client:
        assert type(client) is Mine
