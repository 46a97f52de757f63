"""
Where the API is: reading, checking and extending its URL.

A URL that is refused may hold a password, so nothing here quotes one, and no frame that raises has it.
"""

from __future__ import annotations

import ipaddress

from typing import Final

import httpx

from taxizer_async._core.errors import ConfigurationError


_LAST_PORT: Final = 65535
_SLASH: Final = b"/"
_NO_URL: Final = "is no URL such as https://apistaging.taxizer.com"


def parse_base_url(base_url: str | httpx.URL) -> httpx.URL:
    """
    Return *base_url* as a URL in one spelling.

    Raises:
        ConfigurationError: If it is no URL, neither https nor loopback, or has parts that would be
            lost or logged.
    """
    url, problem = read_base_url(base_url)
    del base_url
    if problem is None:
        return url
    del url
    msg = f"base_url {problem}"
    raise ConfigurationError(msg)


def read_base_url(base_url: str | httpx.URL) -> tuple[httpx.URL, str | None]:
    """Return the URL, and what is wrong with it if it can't be used."""
    try:
        url = httpx.URL(str(base_url).strip())
        problem = _problem_of(url)
    # A lone surrogate, and a host that only looks like an encoded one, are the codecs' to refuse.
    except (httpx.InvalidURL, UnicodeError):
        url, problem = httpx.URL(""), _NO_URL
    if problem is not None:
        return url, problem
    return url.copy_with(raw_path=url.raw_path.rstrip(_SLASH) or _SLASH), None


def endpoint_url(base_url: httpx.URL, path: str) -> httpx.URL:
    """Return the URL of *path* under *base_url*."""
    return base_url.copy_with(raw_path=base_url.raw_path.rstrip(_SLASH) + path.encode())


def is_loopback(host: str) -> bool:
    """Say whether *host* is this machine, by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _problem_of(url: httpx.URL) -> str | None:
    if url.userinfo:
        return "holds a user name or password: leave them out"
    # Its raw form is what goes on the wire: a zone of IPv6 may be no ASCII.
    has_host = bool(url.host and url.raw_host)
    if url.scheme not in ("http", "https") or not has_host or (url.port or 0) > _LAST_PORT:
        return _NO_URL
    if url.scheme == "http" and not is_loopback(url.host):
        return "must be https, as secrets are sent to it (http is for loopback)"
    if url.query or url.fragment:
        return "has a query or a fragment: leave it out"
    if url.path.rstrip("/").endswith("/v1"):
        return "ends in /v1: leave it out, as it is part of each path"
    return None
