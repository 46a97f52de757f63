"""Event loops within each other, by nest_asyncio, as a program: it prints what was seen of logins and deadlines."""

from __future__ import annotations

import asyncio
import json
import os
import time

from typing import TYPE_CHECKING, Any, Final, TypeVar

import nest_asyncio

from taxizer_async import AuthError, Credentials, RenewalPolicy, TaxizerAuth
from taxizer_async.testing import Fault, Sandbox


if TYPE_CHECKING:
    from collections.abc import Coroutine


T = TypeVar("T")

#: Calls within each other.
DEEP: Final = 10
DEADLINE: Final = 3.0


def nested(call: Coroutine[Any, Any, T]) -> T:
    """Return what *call* returns, in a loop within the one that runs."""
    return asyncio.get_event_loop().run_until_complete(call)


async def crowd(auth: TaxizerAuth) -> list[str]:
    """Return what became of calls that each run the loop again: "Token", or an error's name."""

    async def one() -> str:
        try:
            return type(nested(auth.token())).__name__
        except AuthError as problem:
            return type(problem).__name__

    return await asyncio.gather(*(one() for _ in range(DEEP)))


async def forget_during_a_login(auth: TaxizerAuth) -> None:
    """Forget within a nested loop while a login is under way."""
    waiting = asyncio.create_task(auth.token())
    await asyncio.sleep(0.1)
    nested(auth.forget())
    await waiting


async def ask_in_the_loop(auth: TaxizerAuth) -> bool:
    """Return whether a sync call in a loop with a login under way gets the token of both."""
    waiting = asyncio.create_task(auth.token())
    await asyncio.sleep(0.1)
    token = auth.sync_token()
    return token.jwt == (await waiting).jwt


async def leave(auth: TaxizerAuth) -> None:
    """Begin a login, and stop the loop, which `asyncio.run` leaves open."""
    asyncio.create_task(auth.token())  # noqa: RUF006
    await asyncio.sleep(0.1)


def main() -> None:
    """Print what was seen."""
    nest_asyncio.apply()
    with Sandbox() as sandbox:
        sandbox.connect_latency = 0.3
        auth = TaxizerAuth(
            Credentials(sandbox.client_id, sandbox.credentials.client_secret),
            base_url=sandbox.base_url,
            policy=RenewalPolicy(exchange_timeout=DEADLINE, outage_backoff=0.01),
        )

        def logins() -> int:
            found = sandbox.counters.connects
            sandbox.reset_counters()
            return found

        seen: dict[str, Any] = {"crowd": [asyncio.run(crowd(auth)), logins()]}
        asyncio.run(auth.forget())
        sandbox.fail("connect", Fault.hang())
        began = time.monotonic()
        seen["hang"] = [asyncio.run(crowd(auth)), logins()]
        seen["seconds"] = time.monotonic() - began
        sandbox.heal()
        asyncio.run(auth.forget())
        asyncio.run(forget_during_a_login(auth))
        seen["forget"] = logins()
        asyncio.run(auth.forget())
        seen["sync"] = [asyncio.run(ask_in_the_loop(auth)), logins()]
        asyncio.run(auth.forget())
        asyncio.run(leave(auth))
        seen["left"] = [type(asyncio.run(auth.token())).__name__, logins()]
    print(json.dumps(seen), flush=True)  # noqa: T201
    # The sandbox's threads are worker threads of anyio's, which never end with nest_asyncio.
    os._exit(0)


if __name__ == "__main__":
    main()
