"""TaxizerAuth as an object: its arguments, its text, its pickles and its copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from taxizer_async import (
    ConfigurationError,
    Credentials,
    MemoryTokenStore,
    TaxizerAuth,
    TaxizerClient,
    TaxizerError,
)
from taxizer_async._core.clock import SystemClock
from taxizer_async.testing import Sandbox
from tests.support.callers import auth_of
from tests.support.policies import ONE_TRY

from .libraries import Library


PAIR = Credentials("id", "secret")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"credentials": ("id", "secret")}, "must be Credentials or a callable .*not tuple"),
        ({"credentials": None}, "not NoneType"),
        ({"credentials": Credentials}, "not type"),
        ({"base_url": "http://api.example"}, "must be https"),
        ({"base_url": "nonsense"}, "must be a URL"),
        ({"extra_origins": "https://other.example"}, "must be a list"),
        ({"extra_origins": ["http://other.example"]}, "must be https"),
        ({"extra_origins": ["other.example"]}, "must be a URL"),
        ({"on_event": "print"}, "on_event must be a callable, not str"),
        ({"http_client": "proxy"}, "http_client must be a callable, not str"),
        ({"http_client": httpx.AsyncClient()}, "http_client must be a callable, not AsyncClient"),
        ({"policy": 5}, "policy must be a RenewalPolicy, not int"),
        ({"store": object()}, "store must be a TokenStore, and lacks load, save, clear, lease"),
        ({"clock": object()}, "clock must be a Clock, and lacks monotonic"),
        ({"store": MemoryTokenStore}, "store must be a TokenStore, not the class MemoryTokenStore"),
        ({"clock": SystemClock}, "clock must be a Clock, not the class SystemClock"),
        ({"extra_origins": None}, "extra_origins must be a list"),
        # Only None stands for the default.
        *(({name: ""}, f"{name} must be") for name in ("store", "policy", "clock")),
        *(({name: ""}, f"{name} must be") for name in ("http_client", "on_event")),
    ],
)
@pytest.mark.parametrize("build", [TaxizerAuth, TaxizerClient])
def test_a_wrong_argument_is_told_at_once(
    build: Callable[..., object], arguments: dict[str, Any], complaint: str
) -> None:
    """A wrong argument fails at construction, with a ConfigurationError, which is a ValueError."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        build(**{"credentials": PAIR, **arguments})

    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TaxizerError)
    assert not caught.value.retryable


def test_a_clock_may_be_a_class_whose_methods_need_no_instance() -> None:
    """Such as one that is nothing but three functions."""

    class Still:
        monotonic = wall = staticmethod(lambda: 0.0)
        sleep = staticmethod(anyio.sleep)

    assert TaxizerAuth(PAIR, clock=Still).status().state == "none"


async def test_a_repr_says_where_and_how_it_stands(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """The repr names the API and the state of the token, and nothing secret."""
    assert repr(auth) == f"<TaxizerAuth for {sandbox.base_url}, token: none>"

    await auth.token()
    assert repr(auth) == f"<TaxizerAuth for {sandbox.base_url}, token: fresh>"


@pytest.mark.report(92)
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_a_pickle_has_the_arguments_and_no_token(
    sandbox: Sandbox, library: Library, protocol: int
) -> None:
    """A pickled auth starts anew with the arguments of the original."""
    auth = library.adapter.TaxizerAuth(
        Credentials.from_env,
        base_url=sandbox.base_url,
        policy=ONE_TRY,
        http_client=library.module.AsyncClient,
        extra_origins=["https://other.example"],
        store=MemoryTokenStore(),
    )
    await auth.token()
    pickled = pickle.dumps(auth, protocol)
    again = pickle.loads(pickled)

    assert type(again) is type(auth)
    assert repr(again) == f"<TaxizerAuth for {sandbox.base_url}, token: none>"
    for secret in (*sandbox.issued_jwts, *sandbox.issued_refresh_tokens, "sandbox-secret"):
        assert secret.encode() not in pickled
    await again.token()
    assert sandbox.counters.connects_ok == 2
    assert again._bearer.options.as_kwargs["policy"] == ONE_TRY
    assert again._bearer._origins == auth._bearer._origins


@pytest.mark.report(92)
@pytest.mark.usefixtures("environment")
def test_a_pickle_works_in_another_process(sandbox: Sandbox) -> None:
    """An auth that was sent to a spawned process logs in there by itself."""
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
    """A store with a length, so that it is false while it is empty."""

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
    """A store that is false, as it has a length and is empty, is used all the same."""
    store: Any = Sized()
    auth = auth_of(sandbox, store=store)
    await auth.token()

    assert len(store) > 0


async def test_a_copy_shares_a_store_that_was_given(sandbox: Sandbox) -> None:
    """A copy of an auth with a store finds the token there."""
    auth = auth_of(sandbox, store=MemoryTokenStore())
    token = await auth.token()

    assert await copy.deepcopy(auth).token() == token
    assert sandbox.counters.connects == 1
