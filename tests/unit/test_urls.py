"""Which base_url is accepted, and what it becomes."""

from __future__ import annotations

import httpx
import pytest

from taxizer_async import ConfigurationError
from taxizer_async._http.urls import endpoint_url, is_loopback, parse_base_url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://api.example", "https://api.example/"),
        ("https://api.example/", "https://api.example/"),
        ("  https://api.example\n", "https://api.example/"),
        ("HTTPS://API.Example:443/", "https://api.example/"),
        ("https://api.example:8443", "https://api.example:8443/"),
        ("https://api.example:65535", "https://api.example:65535/"),
        ("https://api.example/a/b/", "https://api.example/a/b"),
        ("https://api.example/v1x", "https://api.example/v1x"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example/"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("http://localhost:8000", "http://localhost:8000/"),
        ("http://LOCALHOST", "http://localhost/"),
        ("http://api.localhost", "http://api.localhost/"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://127.9.9.9", "http://127.9.9.9/"),
        ("http://[::1]:8000", "http://[::1]:8000/"),
        (httpx.URL("https://api.example/x"), "https://api.example/x"),
    ],
)
def test_a_good_base_url_is_normalised(given: str | httpx.URL, url: str) -> None:
    """An https URL anywhere and an http one on loopback are accepted, and normalized."""
    assert str(parse_base_url(given)) == url


@pytest.mark.invariant(19)
@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("", "must be a URL"),
        ("api.example", "must be a URL"),
        ("https://", "must be a URL"),
        ("https:///v1", "must be a URL"),
        ("ftp://api.example", "must be a URL"),
        ("https://api.example:port", "must be a URL"),
        ("https://api.example:65536", "must be a URL"),
        ("https://api.example:99999", "must be a URL"),
        ("https://a\x00b", "must be a URL"),
        ("https://a b", "must be a URL"),
        ("https://a%20b", "must be a URL"),
        ("https://" + "a" * 70000, "must be a URL"),
        ("https://api.example/\ud800", "must be a URL"),
        ("https://api.example#\udcff", "must be a URL"),
        ("https://xn--a", "must be a URL"),
        # Python's codec counts further than it can.
        ("https://xn--9999999999999999999999999a", "must be a URL"),
        ("https://XN--99999999", "must be a URL"),
        ("https://[::1%\u00e9]", "must be a URL"),
        ("http://api.example", "must be https"),
        ("http://10.0.0.1", "must be https"),
        ("http://0.0.0.0", "must be https"),
        ("http://localhost.evil.example", "must be https"),
        ("http://evil-localhost", "must be https"),
        ("http://127.0.0.1.evil.example", "must be https"),
        ("http://[::2]", "must be https"),
        ("https://api.example?x=1", "has a query or a fragment"),
        ("https://api.example#x", "has a query or a fragment"),
        ("https://api.example/v1", "ends in /v1"),
        ("https://api.example/v1/", "ends in /v1"),
        ("https://user@api.example", "user name or password"),
        ("https://user:password@api.example", "user name or password"),
        ("http://localhost@evil.example", "user name or password"),
    ],
)
def test_a_wrong_base_url_is_refused(given: str, complaint: str) -> None:
    """Anything but an https URL, or with parts that would be lost, is refused with the reason."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        parse_base_url(given)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("given", [None, 17, b"https://api.example", object()])
def test_what_is_not_a_string_is_refused(given: str) -> None:
    """Another type is a `ConfigurationError`."""
    with pytest.raises(ConfigurationError):
        parse_base_url(given)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.example", "https://api.example/v1/Auth/Connect"),
        ("https://api.example/", "https://api.example/v1/Auth/Connect"),
        ("https://api.example/a/", "https://api.example/a/v1/Auth/Connect"),
        ("https://api.example/a%20b", "https://api.example/a%20b/v1/Auth/Connect"),
        ("https://api.example/a%2Fb", "https://api.example/a%2Fb/v1/Auth/Connect"),
        ("https://api.example/100%25", "https://api.example/100%25/v1/Auth/Connect"),
    ],
)
def test_endpoints_lie_below_the_base_url(base: str, url: str) -> None:
    """An endpoint's URL is the base_url as it was written, followed by its path."""
    assert str(endpoint_url(parse_base_url(base), "/v1/Auth/Connect")) == url


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("localhost.", False),
        ("xlocalhost", False),
        ("128.0.0.1", False),
        ("::", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, verdict: bool) -> None:
    """Names and addresses of this machine are loopback; lookalikes are not."""
    assert is_loopback(host) is verdict
