"""
The checks on the way to the API, and of the API.

They reach it as a login does: through the same proxy, with the same CA bundle. None is tried again, so
that each shows what happens now.
"""

from __future__ import annotations

import random
import socket
import ssl
import time

from functools import partial
from http import HTTPStatus
from typing import Any, Final

import anyio
import httpx

from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._cli.doctor.case import Case, aside
from taxizer_async._cli.doctor.findings import Finding, State
from taxizer_async._core.clock import SystemClock
from taxizer_async._core.exchange import (
    Issued,
    Malformed,
    Misconfigured,
    Refused,
    RetryBudget,
    may_pass,
)
from taxizer_async._core.models import Credentials
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.headers import parse_http_date
from taxizer_async._http.network_errors import causes_of, describe_network_error, reason_of
from taxizer_async._http.token_endpoints import HttpExchange
from taxizer_async._http.urls import endpoint_url


#: Seconds that the clocks may differ. `Date` counts whole seconds, and the answer takes some time.
_SKEW: Final = 30.0
#: What is asked for: a GET is no call of the API, and an empty POST can't be an invoice.
_RESOURCE: Final = "/v1/Invoices/GenerateInvoiceFromXml"


#: What a service that has taken the token says of an empty request, besides 2xx.
_OF_NO_INVOICE: Final = frozenset({400, 411, 415, 422})

#: By OpenSSL's codes (X509_V_ERR_...) of what is wrong with a certificate.
_CERTIFICATE_ADVICE: Final = {
    **dict.fromkeys(
        (9, 10), "check the clock of this machine; if it is right, tell the host's owner"
    ),
    **dict.fromkeys(
        (18, 19, 20, 21),
        "if a proxy of your company opens TLS, name a file with its CA in SSL_CERT_FILE",
    ),
    **dict.fromkeys((62, 64), "check the host in TAXIZER_BASE_URL, and what DNS says of it"),
}


async def check_dns(case: Case) -> Finding:
    """Look the host up that a connection is made to."""
    host, port = case.first_hop()
    try:
        found = await aside.run(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    # UnicodeError: a label of the name is empty or too long.
    except (socket.gaierror, UnicodeError):
        return Finding(State.UNAVAILABLE, f"{host} can't be resolved", _name_advice(case))
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    return Finding(State.OK, f"{host} is at {', '.join(addresses)}")


async def check_tcp(case: Case) -> Finding:
    """Open a connection."""
    hop = case.first_hop()
    began = time.monotonic()
    try:
        stream = await anyio.connect_tcp(*hop)
    except OSError as cause:
        reason = reason_of(cause) or type(cause).__name__
        return Finding(State.UNAVAILABLE, f"no connection to {hop} ({reason})", _port_advice(case))
    await stream.aclose()
    took = (time.monotonic() - began) * 1000
    return Finding(State.OK, f"{hop} takes connections, within {took:.0f} ms")


async def check_tls(case: Case) -> Finding:
    """Make a request, and look at the certificate."""
    try:
        async with case.client() as client:
            if case.url.scheme == "http":
                return Finding(State.OK, "not used, as http is for this machine only")
            return await _inspect(client, case)
    except httpx.ProxyError as cause:
        return _refused_by_proxy(cause)
    except httpx.TransportError as cause:
        return _failed_tls(cause)
    # The CA bundle, or the proxy variables.
    except (OSError, ValueError, ImportError) as cause:
        text = f"no HTTP client can be made ({type(cause).__name__})"
        advice = "check SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables"
        return Finding(State.MISCONFIGURED, text, advice)


async def check_clock(case: Case) -> Finding:
    """Compare this machine's clock with the server's `Date`."""
    sent = time.time()
    async with case.client() as client, client.stream("GET", _resource(case)) as answer:
        received = time.time()
    server = parse_http_date(answer.headers.get("Date"))
    if server is None:
        return Finding(State.SKIPPED, "the server does not tell its time")
    ahead = (sent + received) / 2 - (server + 0.5)
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) < _SKEW:
        return Finding(State.OK, text)
    advice = (
        "set it (NTP): tokens do not depend on it, but certificates and the dates of invoices do"
    )
    return Finding(State.WARNING, text, advice)


async def check_login(case: Case) -> Finding:
    """Log in at Connect, once, and keep the token for the check `bearer`."""
    clock = SystemClock()
    exchange = HttpExchange(
        base_url=case.url,
        policy=RenewalPolicy(attempt_timeout=case.seconds, connect_timeout=case.seconds),
        clock=clock,
        random=random.random,
        library=HTTPX,
        http_client=None,
    )
    budget = RetryBudget(deadline=clock.monotonic() + 2 * case.seconds, wants_more=lambda _: False)
    outcome = await exchange.connect(await aside.run(Credentials.from_env), budget)
    if isinstance(outcome, Issued):
        case.jwt = outcome.token.jwt
        app, account = outcome.token.app_name, outcome.token.account_name
        whose = f"{app or 'an unnamed app'} of {account or 'an unnamed account'}"
        lives = "" if outcome.lifetime is None else f"; the token lives {outcome.lifetime:.0f} s"
        return Finding(State.OK, f"as {whose}{lives}")
    if isinstance(outcome, Refused):
        return Finding(
            State.REFUSED,
            f"Connect refuses the pair ({outcome.status_code})",
            "copy both from the Taxizer dashboard again, that of the environment of the base URL",
        )
    if isinstance(outcome, Misconfigured):
        return Finding(State.MISCONFIGURED, outcome.reason)
    if isinstance(outcome, Malformed):
        text = f"Connect answered {outcome.status_code} with {outcome.excerpt}, which is not documented"
        advice = "check TAXIZER_BASE_URL, and what stands between you and the API"
        return Finding(State.UNAVAILABLE, text, advice)
    return Finding(
        State.UNAVAILABLE, f"no token from Connect: {outcome.reason}", "try again in a minute"
    )


async def check_bearer(case: Case) -> Finding:
    """Try the token on an empty request, which submits nothing, and the same without it."""
    async with case.client() as client:
        post = partial(client.post, _resource(case), content=b"")
        bare = (await post()).status_code
        status = (await post(headers={"Authorization": f"Bearer {case.jwt.reveal()}"})).status_code
    if status == HTTPStatus.UNAUTHORIZED:
        text = "the API refuses the token that it has just issued (401)"
        return Finding(State.REFUSED, text, "ask Taxizer whether the app may use the API")
    if may_pass(status):
        text = f"the API answers {status} to a request with the token"
        return Finding(State.UNAVAILABLE, text, "try again in a minute")
    if bare == HTTPStatus.UNAUTHORIZED and status == HTTPStatus.FORBIDDEN:
        text = "the API takes the token, but forbids the app an invoice (403)"
        return Finding(State.REFUSED, text, "ask Taxizer whether the app may use the API")
    is_taken = httpx.codes.is_success(status) or status in _OF_NO_INVOICE
    if bare != HTTPStatus.UNAUTHORIZED or not is_taken:
        text = f"it can't be told: without a token the API answers {bare}, with one {status}"
        return Finding(
            State.WARNING, text, "check TAXIZER_BASE_URL, and what stands before the API"
        )
    return Finding(State.OK, f"taken: an empty request gets {status}, and 401 without the token")


def _resource(case: Case) -> httpx.URL:
    return endpoint_url(case.url, _RESOURCE)


async def _inspect(client: httpx.AsyncClient, case: Case) -> Finding:
    async with client.stream("GET", _resource(case)) as answer:
        tls: Any = answer.extensions["network_stream"].get_extra_info("ssl_object")
        certificate = tls.getpeercert()
    issuer = {name: value for names in certificate["issuer"] for name, value in names}
    by = issuer.get("organizationName") or issuer.get("commonName") or "an unnamed CA"
    ends = time.gmtime(ssl.cert_time_to_seconds(certificate["notAfter"]))
    return Finding(
        State.OK,
        f"{tls.version()}, with a certificate by {by} until {time.strftime('%Y-%m-%d', ends)}",
    )


def _failed_tls(error: httpx.TransportError) -> Finding:
    for cause in causes_of(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            text = f"the certificate is not accepted ({cause.verify_message.rstrip('.')})"
            advice = _CERTIFICATE_ADVICE.get(cause.verify_code, "tell the host's owner")
            return Finding(State.UNAVAILABLE, text, advice)
        if isinstance(cause, ssl.SSLError):
            return Finding(
                State.UNAVAILABLE,
                f"TLS fails ({cause.reason})",
                "check the port in TAXIZER_BASE_URL: something else may listen there",
            )
    raise error


def _refused_by_proxy(error: httpx.ProxyError) -> Finding:
    # The rest of its text comes from the proxy.
    status = str(error)[:3]
    if not status.isdecimal():
        text = f"the proxy fails ({describe_network_error(error)})"
        return Finding(State.UNAVAILABLE, text, "check the proxy variables")
    if int(status) == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        advice = "check the user name and the password in the proxy variable"
    else:
        advice = "have it let requests to the API through, or name the API's host in NO_PROXY"
    return Finding(State.UNAVAILABLE, f"the proxy answers {status}", advice)


def _name_advice(case: Case) -> str:
    where = "TAXIZER_BASE_URL" if case.proxy() is None else "the proxy variable"
    return f"check the host in {where}, and the DNS servers of this machine"


def _port_advice(case: Case) -> str:
    if case.proxy() is None:
        return "check the host and the port in TAXIZER_BASE_URL, and the firewall"
    return "check the proxy variable, or name the API's host in NO_PROXY"
