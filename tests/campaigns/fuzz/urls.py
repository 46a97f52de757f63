"""Base URLs, as `parse_base_url` reads them."""

from __future__ import annotations

import ipaddress

from typing import Final

import httpx

from taxizer_async._http.token_endpoints import CONNECT_PATH
from taxizer_async._http.urls import endpoint_url, parse_base_url
from tests.campaigns.fuzz.campaign import Target, always
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.verdict import CANARY, ECHO, judge, require


_SCHEMES: Final = (*("https",) * 8, "http", "HTTPS", "ftp", "", "file", "javascript")
_HOSTS: Final = (
    *("api.example",) * 12,
    *("localhost", "api.localhost", "127.0.0.1", "[::1]", "[2001:db8::1]", "m\u00fcnchen.example"),
    *("xn--mnchen-3ya.example", "xn--a", "XN--99999999", "a..b", "a" * 64, "[::1%25lo]"),
    *("[::1%\u00e9]", "0x7f.1"),
    *("1.2.3.400", "%6c", "\u3002example", "\u0130.example", "*", "..", "", "\u212a.example"),
    *("[v1.x]",),
)
_PORTS: Final = (
    *("",) * 8,
    ":",
    ":443",
    ":8443",
    ":0",
    ":65535",
    ":65536",
    ":-1",
    ":+5",
    ":1_0",
    ":x",
)
_PATHS: Final = (
    *("", "/") * 4,
    "/a/b/",
    "/v1",
    "/%2F",
    "/%",
    "/\u00e9",
    "/\ud800",
    "/..",
    "//x",
    "/a b",
    "\\",
)
_ENDS: Final = (*("",) * 20, "?", "#", f"?token={CANARY}", f"#{CANARY}", "\n", " ")


def base_url(draw: Draw) -> str:
    """Return a base URL, good or wrong."""
    if draw.chance(0.05):
        return draw.text()
    user = draw.pick((*("",) * 20, f"user:{CANARY}@", "@", f"{CANARY}@"))
    separator = "://" if draw.chance(0.95) else draw.pick((":", "//", ":/", ""))
    parts = (_SCHEMES, _HOSTS, _PORTS, _PATHS, _ENDS)
    scheme, host, port, path, end = (draw.pick(options) for options in parts)
    url = f"{scheme}{separator}{user}{host}{port}{path}{end}"
    if draw.chance(0.3):
        url = draw.spoil(url)
    return url.replace(CANARY, "shown").replace(ECHO, "shown") if _shows(url) else url


def _shows(url: str) -> bool:
    """Return whether a canary is in the host or the path, which errors and the log may show."""
    try:
        parsed = httpx.URL(url.strip())
        shown = parsed.raw_host + parsed.raw_path.partition(b"?")[0]
    except (httpx.InvalidURL, UnicodeError):
        return False
    return CANARY.encode() in shown or ECHO.encode() in shown


def good_base_url(draw: Draw) -> str:
    """Return a good base URL."""
    return draw.pick(("https://api.example", "http://127.0.0.1:8000/", "https://\u00e4.example/x"))


async def _feed_base_url(given: str) -> str:
    try:
        url = parse_base_url(given)
    except Exception as error:  # noqa: BLE001 - judged
        return judge(error)
    require(url.scheme in ("http", "https") and url.host, "a base URL has a host")
    require(url.scheme == "https" or _is_here(url), "secrets go over TLS or nowhere else")
    require((url.port or 0) < 65_536, "its port is one")
    require(not (url.userinfo or url.query or url.fragment), "it holds nothing that is lost")
    require(parse_base_url(str(url)) == url, "what is accepted is in its one spelling")
    endpoint = endpoint_url(url, CONNECT_PATH)
    require(endpoint.raw_path.endswith(CONNECT_PATH.encode()), "endpoints lie below it")
    require(endpoint.raw_host == url.raw_host and endpoint.port == url.port, "on the same host")
    httpx.Request("POST", endpoint)
    return "URL"


def _is_here(url: httpx.URL) -> bool:
    sent_to = url.raw_host.decode("ascii").strip("[]")
    if sent_to == "localhost" or sent_to.endswith(".localhost"):
        return True
    return ipaddress.ip_address(sent_to).is_loopback


URLS: Final = (
    Target("base-url", 0.1, base_url, always(_feed_base_url), {"URL", "ConfigurationError"}),
)
