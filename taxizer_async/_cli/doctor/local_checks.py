"""
The checks of this machine: the environment, the URL, the proxy variables, the store, the packages.

What is set wrongly leaves them as `ConfigurationError`.
"""

from __future__ import annotations

import platform
import re

from collections.abc import Iterator
from importlib import metadata, util
from typing import Final

import httpx

from taxizer_async._cli.doctor.case import Case, aside
from taxizer_async._cli.doctor.findings import Finding, State, finding_of
from taxizer_async._cli.store_config import StoreKind, closing
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import TokenStoreError
from taxizer_async._core.models import Credentials
from taxizer_async._http.urls import is_loopback
from taxizer_async._version import __version__
from taxizer_async.stores import CheckableStore


#: Other hosts than the documented one are not documented, but they are likely to be below this domain.
_DOMAIN: Final = ".taxizer.com"

#: The lowest version need not come first, as in `httpx<1,>=0.28`; markers follow a semicolon.
_REQUIREMENT: Final = re.compile(r"([\w.-]+)[^;]*?>=([\d.]+)")


async def check_credentials(_case: Case) -> Finding:
    """Look whether the pair is in the environment, or in the files that it names."""
    pair = await aside.run(Credentials.from_env)
    values = {
        "TAXIZER_CLIENT_ID": pair.client_id,
        "TAXIZER_CLIENT_SECRET": pair.client_secret.reveal(),
    }
    odd = [f"{name} {what}" for name, value in values.items() if (what := _oddity_of(value))]
    if odd:
        advice = "remove it, unless it is part of the value"
        return Finding(State.WARNING, " and ".join(odd), advice)
    return Finding(State.OK, "the clientId and the clientSecret are set")


def _oddity_of(value: str) -> str | None:
    """Return what a file or a shell may have put into *value* by mistake."""
    if value != value.strip():
        return "begins or ends with white space"
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return "is in quotation marks"
    if not value.isprintable():
        return "has a line break in it, or another character that can't be printed"
    return None


async def check_url(case: Case) -> Finding:
    """Look whether the URL can be Taxizer's."""
    url = case.url
    shown = str(url).rstrip("/")
    if url.path != "/":
        advice = (
            "leave it out, unless your gateway to Taxizer needs it, as each call adds its own path"
        )
        return Finding(State.WARNING, f"{shown} has a path", advice)
    if url.host == httpx.URL(DEFAULT_BASE_URL).host:
        return Finding(State.OK, f"{shown} is the documented staging host")
    if is_loopback(url.host):
        return Finding(State.OK, f"{shown} is on this machine, as a sandbox is; it is not Taxizer")
    if url.host.endswith(_DOMAIN):
        return Finding(
            State.OK, f"{shown} is a host of Taxizer, but not the documented staging host"
        )
    advice = "check TAXIZER_BASE_URL, unless this is your gateway to it"
    return Finding(State.WARNING, f"{shown} is not a host of Taxizer", advice)


async def check_proxy(case: Case) -> Finding:
    """Look which proxy the environment or the system names for the API."""
    proxy = case.proxy()
    if proxy is None:
        return Finding(State.OK, "none is used")
    if proxy.scheme.startswith("socks") and util.find_spec("socksio") is None:
        text = f"{proxy.scheme} needs a package that is not installed"
        return Finding(State.MISCONFIGURED, text, 'pip install "httpx[socks]"')
    return Finding(State.OK, f"requests go through {case.first_hop()}")


async def check_store(case: Case) -> Finding:
    """Use each right that the store needs, on a record that belongs to nobody."""
    if case.store.kind is StoreKind.MEMORY:
        return Finding(State.SKIPPED, "none was named", "give --store file or redis to check one")
    try:
        store = await aside.run(case.store.create)
        async with closing(store):
            if isinstance(store, CheckableStore):
                await store.check()
    except TokenStoreError as cause:
        return finding_of(cause, State.UNAVAILABLE)
    return Finding(State.OK, f"{case.store.place} can be used")


async def check_versions(_case: Case) -> Finding:
    """Compare what is installed with what this package needs."""
    return await aside.run(_compare_versions)


def _compare_versions() -> Finding:
    try:
        needed = dict(_needed())
    except metadata.PackageNotFoundError:
        text = f"taxizer-async {__version__} runs from a source tree, so what it needs is not known"
        return Finding(State.WARNING, text, "install it with pip")
    installed = {name: version for name in needed if (version := _version_of(name)) is not None}
    old = {
        name: version
        for name, version in installed.items()
        if _numbers(version) < _numbers(needed[name])
    }
    if old:
        found = ", ".join(f"{name} {version}" for name, version in old.items())
        wanted = " ".join(f'"{name}>={needed[name]}"' for name in old)
        return Finding(State.MISCONFIGURED, f"too old: {found}", f"pip install {wanted}")
    listed = [f"taxizer-async {__version__}", f"Python {platform.python_version()}"]
    return Finding(
        State.OK,
        ", ".join([*listed, *(f"{name} {version}" for name, version in installed.items())]),
    )


def _needed() -> Iterator[tuple[str, str]]:
    """Yield the names of the dependencies, extras included, and the lowest version of each."""
    for requirement in metadata.requires("taxizer-async") or ():
        found = _REQUIREMENT.match(requirement)
        if found is not None:
            yield found[1], found[2]


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
