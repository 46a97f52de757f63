"""The store over PostgreSQL keeps the rules of stores, on a real server."""

from __future__ import annotations

import os
import sys

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import psycopg
import pytest

from cryptography.fernet import Fernet
from psycopg_pool import AsyncConnectionPool

from taxizer_async.stores import TokenStore
from taxizer_async.testing import TOKEN_STORE_CASES, Sandbox, check_token_store
from tests.support import families
from tests.support.postgres_server import PostgresServer
from tests.support.server_process import environment_of


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("postgres")]

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "examples" / "postgres_store.py"


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(name="recipe")
def _recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # At the end, so that what is installed comes first.
    monkeypatch.setattr(sys, "path", [*sys.path, str(PROGRAM.parent), str(ROOT)])
    import postgres_store  # noqa: PLC0415

    return postgres_store


async def connect(url: str, key: str) -> TokenStore:
    """Return a store for the rest of the process."""
    import postgres_store  # noqa: PLC0415

    pool = postgres_store.open_pool(url)
    await pool.open()
    return postgres_store.PostgresTokenStore(pool, key)


@attrs.frozen
class OfOnePool:
    """Makes the stores of this process over one pool, and another process's over its own."""

    recipe: ModuleType
    pool: AsyncConnectionPool
    url: str
    key: str

    def __call__(self) -> TokenStore:
        store: TokenStore = self.recipe.PostgresTokenStore(self.pool, self.key)
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (connect, self.url, self.key)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_keeps_the_rules(recipe: ModuleType, server: PostgresServer) -> None:
    """All cases of the suite pass, with a holder that is killed in another process, too."""
    key = Fernet.generate_key().decode()
    async with recipe.open_pool(server.url) as pool:
        await recipe.PostgresTokenStore(pool).run(recipe.TABLE)
        passed = await check_token_store(OfOnePool(recipe, pool, server.url, key))

    # It shares no failures.
    assert passed == tuple(
        case.name
        for case in TOKEN_STORE_CASES
        if not (case.name.startswith("a_look") or "failure" in case.name)
    )


def test_workers_share_one_login(server: PostgresServer, sandbox: Sandbox) -> None:
    """Processes that are started one after the other log in once, and the table holds no readable secret."""
    environment = environment_of(sandbox, TAXIZER_STORE_KEY=Fernet.generate_key().decode())
    for _ in range(2):
        done = families.run(
            [sys.executable, "-W", "error", str(PROGRAM), server.url], env=os.environ | environment
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Token(")
    with psycopg.connect(server.url) as connection:
        rows = connection.execute(
            "SELECT record FROM taxizer_tokens WHERE owner IS NULL"
        ).fetchall()

    assert sandbox.counters.connects == 1
    assert rows
    assert not [row for row in rows if sandbox.issued_jwts[0].encode() in (row[0] or b"")]
