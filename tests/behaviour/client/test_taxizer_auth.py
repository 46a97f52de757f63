"""TaxizerAuth as an object: its arguments, its text, its pickles and its copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import (
    ConfigurationError,
    Credentials,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TaxizerClient,
    TaxizerError,
)
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async.testing import Sandbox


PAIR = Credentials("id", "secret")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"credentials": ("id", "secret")}, "must be Credentials or a callable .*not tuple"),
        ({"credentials": None}, "not NoneType"),
        ({"credentials": Credentials}, "not type"),
        ({"base_url": "http://api.example"}, "must be https"),
        ({"base_url": "nonsense"}, "is no URL"),
        ({"extra_origins": "https://other.example"}, "must be a list"),
        ({"extra_origins": ["http://other.example"]}, "must be https"),
        ({"extra_origins": ["other.example"]}, "is no URL"),
        ({"on_event": "print"}, "on_event must be a callable, not str"),
        ({"http_client": "proxy"}, "http_client must be a callable, not str"),
        ({"http_client": httpx.AsyncClient()}, "http_client must be a callable, not AsyncClient"),
    ],
)
def test_a_wrong_argument_is_told_at_once(arguments: dict[str, Any], complaint: str) -> None:
    """What can be seen to be wrong fails at construction, as a ValueError of ours."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        TaxizerAuth(**{"credentials": PAIR, **arguments})

    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TaxizerError)
    assert not caught.value.retryable


def test_the_error_of_a_bad_extra_origin_names_it() -> None:
    """Whoever gave a wrong extra origin is not sent to look at base_url."""
    with pytest.raises(ConfigurationError, match="extra_origins"):
        TaxizerAuth(PAIR, extra_origins=["http://other.example"])


def test_a_sync_client_is_told_of_the_async_one() -> None:
    """A sync httpx.Client with this auth fails with an error that names httpx.AsyncClient."""
    with (
        httpx.Client(auth=TaxizerAuth(PAIR)) as client,
        pytest.raises(ConfigurationError, match=r"httpx\.AsyncClient"),
    ):
        client.get("https://apistaging.taxizer.com/v1/x")


async def test_a_repr_says_where_and_how_it_stands(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """The repr names the API and the state of the token, and nothing secret."""
    assert repr(auth) == f"<TaxizerAuth for {sandbox.base_url}, token: none>"

    await auth.token()
    assert repr(auth) == f"<TaxizerAuth for {sandbox.base_url}, token: fresh>"


@pytest.mark.report(92)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_a_pickle_has_the_arguments_and_no_token(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    """A pickled auth starts anew with the arguments of the original."""
    monkeypatch.setenv("TAXIZER_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", "sandbox-secret")
    auth = TaxizerAuth(
        Credentials.from_env,
        base_url=sandbox.base_url,
        policy=RenewalPolicy(backoff=60.0),
        http_client=httpx.AsyncClient,
        extra_origins=["https://other.example"],
        store=MemoryTokenStore(),
    )
    await auth.token()
    pickled = pickle.dumps(auth, protocol)
    again = pickle.loads(pickled)

    assert repr(again) == f"<TaxizerAuth for {sandbox.base_url}, token: none>"
    for secret in (*sandbox.issued_jwts, *sandbox.issued_refresh_tokens, "sandbox-secret"):
        assert secret.encode() not in pickled
    await again.token()
    assert sandbox.counters.connects_ok == 2
    assert again._bearer.options.as_kwargs["policy"] == RenewalPolicy(backoff=60.0)
    assert again._bearer._origins == auth._bearer._origins


@pytest.mark.report(92)
def test_a_pickle_works_in_another_process(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An auth that was sent to a spawned process logs in there by itself."""
    monkeypatch.setenv("TAXIZER_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", "sandbox-secret")
    pickled = pickle.dumps(TaxizerAuth(Credentials.from_env, base_url=sandbox.base_url))
    program = (
        "import anyio, pickle, sys; auth = pickle.loads(sys.stdin.buffer.read());"
        "token = anyio.run(auth.token); print(token.jwt.reveal())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], input=pickled, capture_output=True, check=True, timeout=50
    )

    assert run.stdout.decode().strip() == sandbox.issued_jwts[-1]


@pytest.mark.report(92)
async def test_credentials_by_value_are_not_pickled(auth: TaxizerAuth) -> None:
    """An auth that holds the secret itself refuses to be pickled, and says what to do."""
    await auth.token()
    with pytest.raises(TypeError, match=r"Credentials\.from_env"):
        pickle.dumps(auth)


@pytest.mark.report(92)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
async def test_a_copy_starts_anew(sandbox: Sandbox, auth: TaxizerAuth, duplicate: Any) -> None:
    """A copy has the arguments of the original and shares neither token nor locks with it."""
    await auth.token()
    copied = duplicate(auth)

    assert copied is not auth
    assert repr(copied) == f"<TaxizerAuth for {sandbox.base_url}, token: none>"
    await copied.token()
    assert sandbox.counters.connects == 2


class Sized:
    """A store that is false for as long as it is empty, as all is that has a length."""

    def __init__(self) -> None:
        self._inner = MemoryTokenStore()
        self._saved = 0

    def __len__(self) -> int:
        return self._saved

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def save(self, *arguments: Any) -> bool:
        self._saved += 1
        return await self._inner.save(*arguments)


async def test_an_empty_store_is_one(sandbox: Sandbox) -> None:
    """A store that has a length, and is empty when it is given, is used all the same."""
    store: Any = Sized()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
    await auth.token()

    assert len(store) > 0


async def test_a_copy_shares_a_store_that_was_given(sandbox: Sandbox) -> None:
    """A copy of an auth with a store finds the token there."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=MemoryTokenStore())
    token = await auth.token()

    assert await copy.deepcopy(auth).token() == token
    assert sandbox.counters.connects == 1


async def test_many_clients_share_one_auth(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """An auth needs no closing and outlives the clients that use it."""
    for _ in range(3):
        async with httpx.AsyncClient(auth=auth) as client:
            assert (await client.get(f"{sandbox.base_url}/v1/x")).status_code == 200

    assert sandbox.counters.exchanges == 1


async def test_keep_fresh_logs_in_and_shows_that_it_runs(sandbox: Sandbox) -> None:
    """A running keep_fresh has a token before anybody asks, and ends when it is cancelled."""
    logged_in = anyio.Event()
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, on_event=lambda _: logged_in.set()
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.keep_fresh)
        with anyio.fail_after(HANG):
            await logged_in.wait()

        assert auth.status().keep_fresh_running
        assert auth.status().usable
        tasks.cancel_scope.cancel()

    assert not auth.status().keep_fresh_running
    await auth.token()
    assert sandbox.counters.exchanges == 1


@pytest.mark.parametrize("build", [TaxizerAuth, TaxizerClient])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"policy": 5}, "policy must be a RenewalPolicy, not int"),
        ({"store": object()}, "store must be a TokenStore, and lacks load, save, clear, lease"),
        ({"http_client": 5}, "http_client must be a callable, not int"),
    ],
)
def test_an_argument_of_a_wrong_kind_is_named(
    build: Callable[..., object], options: dict[str, object], complaint: str
) -> None:
    """Who mixes up the arguments is told which one is wrong, and what it has to be."""
    with pytest.raises(ConfigurationError, match=complaint):
        build(Credentials("app", "secret"), **options)
