"""Invoices over a real connection: each is sent once, and nothing is called taken that may not have been."""

from __future__ import annotations

import base64
import json
import logging
import socket
import traceback
import uuid

from typing import Any

import httpx
import httpx2
import pytest

from taxizer_async import AuthError, ConfigurationError, Credentials, TaxizerClient
from taxizer_async import httpx2 as taxizer_httpx2
from taxizer_async.invoices import (
    InvoiceError,
    InvoiceNotSentError,
    InvoiceResponseError,
    InvoiceUncertainError,
    submit_signed_xml,
    submit_signed_xml_request,
)
from taxizer_async.testing import Fault, Sandbox

from .libraries import Library


STANDARD = "/v1/Invoices/GenerateInvoiceFromXml"
SIMPLIFIED = "/v1/Invoices/GenerateInvoiceFromXmlRequest"
UUID = "6f4d20e0-6bfe-4a80-9389-7dabe6620f12"
DEVICE = uuid.UUID("3fb6a4b2-9a3a-4e2a-8f57-9b2f1f4f8d11")
XML = b"<Invoice/>"


def invoice(**changes: Any) -> Any:
    return {"uuid": UUID, "device_id": DEVICE, "invoice_number": "7", "xml": XML, **changes}


def says(body: dict[str, Any], *, status: int = 200) -> Fault:
    return Fault.status(status, body=json.dumps(body))


async def test_both_calls(sandbox: Sandbox) -> None:
    """Each call sends the four fields to its own path, and returns the verdict."""
    sandbox.fail(STANDARD, says({"status": "failed", "errorMessages": [{"code": "X"}]}))
    sandbox.fail(SIMPLIFIED, says({"transactionId": "t", "status": "Pending"}, status=202))
    sent: list[httpx.Request] = []

    async def keep(request: httpx.Request) -> None:
        sent.append(request)

    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, event_hooks={"request": [keep]}
    ) as client:
        refused = await submit_signed_xml(client, **invoice())
        pending = await submit_signed_xml_request(client, **invoice())

    assert refused.is_refused
    assert pending.is_pending
    assert pending.transaction_id == "t"
    assert [each.url.path for each in sent] == [STANDARD, SIMPLIFIED]
    assert json.loads(sent[0].content) == {
        "uuid": UUID,
        "deviceId": str(DEVICE),
        "invoiceNumber": "7",
        "signedXmlInvoice": base64.b64encode(XML).decode(),
    }


async def test_httpx2(sandbox: Sandbox) -> None:
    """A client of httpx2 serves as well, also when its connection breaks."""
    sandbox.fail(STANDARD, says({"status": "completed"}), times=1)
    sandbox.fail(STANDARD, Fault.reset())
    async with taxizer_httpx2.TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url
    ) as client:
        assert isinstance(client, httpx2.AsyncClient)
        assert (await submit_signed_xml(client, **invoice())).is_accepted
        with pytest.raises(InvoiceUncertainError, match=UUID):
            await submit_signed_xml(client, **invoice())


@pytest.mark.parametrize("own_class", [True, False], ids=["SyncTaxizerClient", "Client"])
def test_a_sync_client(library: Library, sandbox: Sandbox, own_class: bool) -> None:
    """A sync client gets the outcome at once; a 401 has the invoice sent again, a lost answer has not."""
    sandbox.fail(STANDARD, Fault.unauthorized(), times=1)
    sandbox.fail(STANDARD, says({"status": "completed"}), times=1)
    sandbox.fail(SIMPLIFIED, Fault.drop_after_processing())
    with (
        library.sync_taxizer_client(sandbox)
        if own_class
        else library.plain_sync_client(library.auth(sandbox))
    ) as client:
        assert submit_signed_xml(client, **invoice()).is_accepted
        with pytest.raises(InvoiceUncertainError, match=UUID) as caught:
            submit_signed_xml_request(client, **invoice())

    assert caught.value.__context__ is None
    assert sandbox.counters.by_path[STANDARD] == 2
    assert sandbox.counters.by_path[SIMPLIFIED] == 1


def test_without_a_token_a_sync_client_sends_nothing(library: Library, sandbox: Sandbox) -> None:
    """If no token can be had the login's error says why."""
    sandbox.fail("connect", Fault.status(400, body='{"title": "no"}'))
    with library.sync_taxizer_client(sandbox) as client, pytest.raises(AuthError):
        submit_signed_xml(client, **invoice())

    assert STANDARD not in sandbox.counters.by_path


class OtherClient:
    async def post(self, url: str, *, json: Any) -> Any:
        pytest.fail(f"{json} was sent to {url}")


@pytest.mark.parametrize("client", [OtherClient(), object(), None, httpx])
def test_another_librarys_client(client: Any) -> None:
    """A client whose errors nobody can read is refused before anything is sent."""
    with pytest.raises(ConfigurationError, match="must be a client of httpx or httpx2, not"):
        submit_signed_xml(client, **invoice())


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset(),
        Fault.truncate(),
        Fault.drop_after_processing(),
        Fault.hang(),
        Fault.status(502, body="<html>Bad Gateway"),
        Fault.status(200, body="{}"),
    ],
    ids=["reset", "truncated", "dropped", "hang", "502", "nothing"],
)
async def test_what_is_unknown_is_said(sandbox: Sandbox, fault: Fault) -> None:
    """If the invoice may have been taken the error says so and names it, and it is not sent again."""
    sandbox.fail(STANDARD, fault)
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, timeout=httpx.Timeout(30, read=0.5)
    ) as client:
        with pytest.raises(
            InvoiceUncertainError, match=f"unknown whether invoice {UUID}"
        ) as caught:
            await submit_signed_xml(client, **invoice())

    assert caught.value.uuid == UUID
    assert not caught.value.retryable
    assert sandbox.counters.by_path[STANDARD] == 1


async def test_not_sent() -> None:
    """Without a connection the invoice was certainly not taken."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            with pytest.raises(InvoiceNotSentError, match=f"{UUID} was not sent") as caught:
                await submit_signed_xml(client, **invoice())

    assert caught.value.retryable


@pytest.mark.parametrize("path", ["/v1/other", STANDARD])
@pytest.mark.parametrize("status", [301, 303, 307])
async def test_no_connection_behind_a_redirect(sandbox: Sandbox, status: int, path: str) -> None:
    """A server that redirects has seen the invoice, so that it is unknown whether it was taken."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}{path}"
        sandbox.fail(STANDARD, Fault.status(status, headers={"Location": url}))
        async with TaxizerClient(
            sandbox.credentials, base_url=sandbox.base_url, follow_redirects=True
        ) as client:
            with pytest.raises(InvoiceUncertainError, match=UUID):
                await submit_signed_xml(client, **invoice())


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    ("target", "reads"), [("https://api.example", False), ("https://other.example", True)]
)
async def test_no_connection_behind_a_redirect_to_the_same_path(
    status: int, target: str, reads: bool
) -> None:
    """The same goes for the same URL, and for another host if the transport reads what it sends."""

    class RedirectingOnce(httpx.AsyncBaseTransport):
        has_seen = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if reads:
                await request.aread()
            if self.has_seen:
                raise httpx.ConnectError("refused", request=request)
            self.has_seen = True
            return httpx.Response(status, headers={"Location": target + request.url.path})

    async with httpx.AsyncClient(
        transport=RedirectingOnce(), base_url="https://api.example", follow_redirects=True
    ) as client:
        with pytest.raises(InvoiceUncertainError, match=UUID):
            await submit_signed_xml(client, **invoice())


async def test_no_connection_of_a_hooks_own(sandbox: Sandbox) -> None:
    """An error that a hook raises once the answer is there does not say that nothing was sent."""

    async def report(_: httpx.Response) -> None:
        msg = "the user's own log server"
        raise httpx.ConnectError(msg)

    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, event_hooks={"response": [report]}
    ) as client:
        with pytest.raises(InvoiceUncertainError, match=UUID):
            await submit_signed_xml(client, **invoice())


async def test_no_secret_in_an_error(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the error, nor what it comes from, nor a log line has the token."""
    caplog.set_level(logging.DEBUG, "taxizer_async")
    sandbox.fail(STANDARD, Fault.reset())
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        jwt = (await client.auth.token()).jwt.reveal()
        with pytest.raises(InvoiceError) as caught:
            await submit_signed_xml(client, **invoice())

    assert caught.value.__context__ is None
    assert jwt not in "".join(traceback.format_exception(caught.value))
    assert jwt not in caplog.text


async def test_a_refused_token_is_replaced(sandbox: Sandbox) -> None:
    """A 401 was no verdict: the invoice is sent again with another token."""
    sandbox.fail(STANDARD, Fault.unauthorized(), times=1)
    sandbox.fail(STANDARD, says({"status": "completed"}))
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        assert (await submit_signed_xml(client, **invoice())).is_accepted


async def test_without_a_token(sandbox: Sandbox) -> None:
    """If no token can be had the login's error says why."""
    async with TaxizerClient(Credentials("nobody", "wrong"), base_url=sandbox.base_url) as client:
        with pytest.raises(AuthError):
            await submit_signed_xml(client, **invoice())

    assert STANDARD not in sandbox.counters.by_path


async def test_a_gateways_page(sandbox: Sandbox) -> None:
    """A page that is not the API's is described, and its status is there."""
    sandbox.fail(STANDARD, Fault.status(504, body="<html>Gateway Timeout</html>"))
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        with pytest.raises(InvoiceResponseError, match="HTTP 504 with an HTML page") as caught:
            await submit_signed_xml(client, **invoice())

    assert caught.value.status_code == 504


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"uuid": "7"}, "uuid must be a UUID"),
        ({"uuid": None}, "uuid must be a UUID"),
        ({"device_id": ""}, "device_id must be a UUID"),
        ({"invoice_number": ""}, "invoice_number must be"),
        ({"invoice_number": 7}, "invoice_number must be"),
        ({"invoice_number": "INV-\ud800"}, "invoice_number must be"),
        ({"xml": b""}, "xml must be"),
        ({"xml": "<Invoice/>"}, "xml must be"),
    ],
)
async def test_wrong_arguments(sandbox: Sandbox, changes: dict[str, Any], problem: str) -> None:
    """A wrong argument is named before anything is sent."""
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        with pytest.raises(ConfigurationError, match=problem):
            await submit_signed_xml(client, **invoice(**changes))

    assert not sandbox.counters.by_path


async def test_without_a_base_url() -> None:
    """A client without a base_url is told that it needs one."""
    async with httpx.AsyncClient() as client:
        with pytest.raises(ConfigurationError, match="needs a base_url"):
            await submit_signed_xml(client, **invoice())
