"""All contenders, in the order of the tables; this imports all their libraries."""

from __future__ import annotations

from typing import Final

from benchmarks.on_aiohttp import AIOHTTP
from benchmarks.on_azure import AZURE
from benchmarks.on_httpx import HTTPX
from benchmarks.on_httpx2 import HTTPX2


#: All contenders.
FIELD: Final = (*HTTPX, *HTTPX2, *AIOHTTP, *AZURE)
BY_NAME: Final = {contender.name: contender for contender in FIELD}
#: The floor of each HTTP library.
FLOORS: Final = {
    contender.library: contender.name for contender in reversed(FIELD) if contender.kind == "floor"
}
#: The contender that all others are compared with.
FLOOR: Final = "static header (httpx)"
LEAN: Final = "static header, leanest (httpx)"
OWN: Final = "taxizer_async (httpx)"
LOCK: Final = "a lock in an httpx.Auth"
#: The contenders of the summary, and their names in it.
SUMMARY: Final = {
    FLOOR: "static header",
    OWN: "taxizer_async",
    LOCK: "a lock by hand",
    "Authlib": "Authlib",
    "httpx-auth": "httpx-auth",
    "azure-core": "azure-core",
    "google-auth": "google-auth",
}
#: What a user could choose instead.
PEERS: Final = frozenset(one.name for one in FIELD if one.kind == "peer")
#: What a scenario follows over time: the peers, and the client on httpx.
FOLLOWED: Final = tuple(one.name for one in FIELD if one.kind == "peer" or one.name == OWN)


def of_floor(name: str) -> str:
    """Return the floor for the contender called *name*."""
    return FLOORS[BY_NAME[name].library]
