"""
A token store in PostgreSQL, for workers that reach a database and no Redis; `main` logs in with it.

`python postgres_store.py postgresql://…`. Its environment is `TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET`
and `TAXIZER_BASE_URL`, and `TAXIZER_STORE_KEY` for encryption. Only the server's clock counts.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from typing import Any, LiteralString

import anyio

from psycopg_pool import AsyncConnectionPool

from taxizer_async import TaxizerClient
from taxizer_async.stores import Lease, RecordCodec, StoreKey, TokenRecord


#: One row per app: its record, the owner of its lease, and until when that lasts.
TABLE = """CREATE TABLE IF NOT EXISTS taxizer_tokens (
  name text PRIMARY KEY, record bytea, saved_at timestamptz,
  owner text, leased_until timestamptz, saves integer NOT NULL DEFAULT 0)"""
LOAD = """SELECT record, extract(epoch FROM clock_timestamp() - saved_at) FROM taxizer_tokens
  WHERE name = %(name)s AND record IS NOT NULL"""
CLEAR = "UPDATE taxizer_tokens SET record = NULL WHERE name = %(name)s"
LEASE = """INSERT INTO taxizer_tokens AS old (name, owner, leased_until)
  VALUES (%(name)s, %(owner)s, clock_timestamp() + interval '5 seconds')
  ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, leased_until = excluded.leased_until, saves = 0
  WHERE old.owner IS NULL OR old.leased_until < clock_timestamp() RETURNING true"""
EXTEND = """UPDATE taxizer_tokens SET leased_until = clock_timestamp() + interval '5 seconds'
  WHERE name = %(name)s AND owner = %(owner)s RETURNING true"""
RELEASE = "UPDATE taxizer_tokens SET owner = NULL WHERE name = %(name)s AND owner = %(owner)s"
# A save that was given up may be done later than the next one, and must not undo it.
SAVE = """UPDATE taxizer_tokens SET record = %(record)s, saved_at = clock_timestamp(), saves = %(number)s
  WHERE name = %(name)s AND owner = %(owner)s AND saves < %(number)s RETURNING true"""


class PostgresTokenStore:
    """Keeps tokens in the table of *pool*, which has autocommit and belongs to one event loop."""

    def __init__(self, pool: AsyncConnectionPool, encryption_key: str | None = None) -> None:
        self._pool = pool
        self._codec = RecordCodec(encryption_key)

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """Return the record of *key*, if there is one."""
        row = await self.run(LOAD, name=key.digest)
        return None if row is None else self._codec.decode(key, row[0], age=row[1])

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """Replace the record of *key*; False, and nothing done, if *lease* is lost."""
        if not isinstance(lease, PostgresLease) or lease.name != key.digest:
            return False
        data, number = self._codec.encode(key, record), next(lease.numbers)
        return bool(await lease.run(SAVE, record=data, number=number))

    async def clear(self, key: StoreKey, /) -> None:
        """Drop the record of *key*, and leave its lease alone."""
        await self.run(CLEAR, name=key.digest)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free, or if its owner has not extended it in time."""
        lease = PostgresLease(self, key.digest)
        try:
            return lease if await lease.run(LEASE) else None
        except asyncio.CancelledError:
            # It may have been granted, and only the answer was not read.
            await lease.release()
            raise

    async def run(self, statement: LiteralString, **values: Any) -> tuple[Any, ...] | None:
        """Return the first row of what *statement* returns."""
        # A cancelled statement would cost its connection, and may be done later.
        with anyio.fail_after(1.5, shield=True):
            async with self._pool.connection() as connection:
                cursor = await connection.execute(statement, values)
                return await cursor.fetchone() if cursor.description else None


class PostgresLease:
    """The lease of one owner, for 5 s after it was taken or extended."""

    heartbeat = 1.25

    def __init__(self, store: PostgresTokenStore, name: str) -> None:
        self.name = name
        self.numbers = itertools.count(1)
        self._store = store
        self._owner = os.urandom(16).hex()

    async def extend(self) -> bool:
        """Put the end off; False if another has the lease."""
        return bool(await self.run(EXTEND))

    async def release(self) -> None:
        """Let others take the lease."""
        await self.run(RELEASE)

    async def run(self, statement: LiteralString, **values: Any) -> tuple[Any, ...] | None:
        """Run *statement* for this owner."""
        return await self._store.run(statement, name=self.name, owner=self._owner, **values)


def open_pool(url: str) -> AsyncConnectionPool:
    """Return a pool that is to be opened with `async with`."""
    return AsyncConnectionPool(url, kwargs={"autocommit": True}, open=False)


async def main(url: str) -> None:
    """Show the token that all workers share."""
    async with open_pool(url) as pool:
        store = PostgresTokenStore(pool, os.environ.get("TAXIZER_STORE_KEY"))
        await store.run(TABLE)
        async with TaxizerClient.from_env(store=store) as client:
            print(await client.auth.token())


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("usage: python postgres_store.py postgresql://…")
    asyncio.run(main(sys.argv[1]))
