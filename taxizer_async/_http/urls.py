"""
The URL of the API, and origins.

A URL that is refused may contain a password: it is never quoted, and `_core.secret` applies.
"""

from __future__ import annotations

import contextlib
import ipaddress

from typing import Final, TypeAlias

import httpx

from taxizer_async._core.errors import ConfigurationError


#: Scheme, host and port.
Origin: TypeAlias = tuple[str, bytes, int | None]

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

#: A WebSocket URL has the origin of the HTTP URL.
_SCHEMES: Final = {"ws": "http", "wss": "https"}

_LAST_PORT: Final = 65535
_SLASH: Final = b"/"
_NO_URL: Final = "must be a URL such as https://apistaging.taxizer.com"


def parse_base_url(base_url: str | httpx.URL, name: str = "base_url") -> httpx.URL:
    """
    Return *base_url*, normalized.

    Raises:
        ConfigurationError: If it is no URL, is neither https nor loopback, or has parts that would be
            lost or logged; the message calls it *name*.
    """
    url = None
    try:
        url = httpx.URL(str(base_url).strip())
        problem = _problem_of(url)
    # From the codecs, for a lone surrogate or an invalid IDNA host.
    except (httpx.InvalidURL, UnicodeError, OverflowError):
        problem = _NO_URL
    if url is not None and problem is None:
        return url.copy_with(raw_path=url.raw_path.rstrip(_SLASH) or _SLASH)
    del base_url, url
    msg = f"{name} {problem}"
    raise ConfigurationError(msg)


def endpoint_url(base_url: httpx.URL, path: str) -> httpx.URL:
    return base_url.copy_with(raw_path=base_url.raw_path.rstrip(_SLASH) + path.encode())


def is_loopback(host: str) -> bool:
    """Return whether *host*, a name or an address, is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_of(scheme: str, host: bytes, port: int | None) -> Origin:
    """Return the origin, with one spelling of the host and with the default port."""
    scheme, host = _SCHEMES.get(scheme, scheme), host.lower()
    if b":" in host:
        # httpx keeps an IPv6 address as it is written; aiohttp normalizes it.
        with contextlib.suppress(ValueError):
            host = ipaddress.ip_address(host.decode()).compressed.encode()
    return scheme, host, port or DEFAULT_PORTS.get(scheme)


def _problem_of(url: httpx.URL) -> str | None:
    if url.userinfo:
        return "holds a user name or password: leave them out"
    # Reading `raw_host`, which is what is sent, raises UnicodeError for a zone that is not ASCII.
    # What a name can't have is percent-encoded by httpx; only an address may have a percent, before its zone.
    has_host = bool(url.host and url.raw_host) and (":" in url.host or "%" not in url.host)
    if url.scheme not in ("http", "https") or not has_host or (url.port or 0) > _LAST_PORT:
        return _NO_URL
    if url.scheme == "http" and not is_loopback(url.host):
        return "must be https, as secrets are sent to it (http is for loopback)"
    if url.query or url.fragment:
        return "has a query or a fragment: leave it out"
    if url.path.rstrip("/").endswith("/v1"):
        return "ends in /v1: leave it out, as it is part of each path"
    return None
