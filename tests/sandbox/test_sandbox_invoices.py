"""The two endpoints for signed XML answer as the API's reference says."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from taxizer_async import TaxizerClient
from taxizer_async.invoices import read_outcome, submit_signed_xml, submit_signed_xml_request
from taxizer_async.testing import Sandbox


def invoice() -> Any:
    return {"uuid": uuid4(), "device_id": uuid4(), "invoice_number": "7", "xml": b"<Invoice/>"}


async def test_a_standard_invoice_is_accepted(sandbox: Sandbox) -> None:
    """The verdict comes at once, with a QR code, a hash and a counter that goes up."""
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        outcomes = [await submit_signed_xml(client, **invoice()) for _ in range(2)]

    assert all(each.is_accepted and each.qr_code and each.invoice_hash for each in outcomes)
    assert [each.invoice_counter for each in outcomes] == [1, 2]


async def test_a_simplified_invoice_is_queued(sandbox: Sandbox) -> None:
    """The answer names the transaction."""
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        outcome = await submit_signed_xml_request(client, **invoice())

    assert outcome.is_pending
    assert outcome.transaction_id
    assert outcome.qr_code


@pytest.mark.parametrize(
    "body", [{}, {"uuid": 7}, {"signedXmlInvoice": "no base64!"}, {"signedXmlInvoice": ""}]
)
@pytest.mark.parametrize("call", ["GenerateInvoiceFromXml", "GenerateInvoiceFromXmlRequest"])
async def test_a_wrong_body_is_refused(sandbox: Sandbox, body: dict[str, Any], call: str) -> None:
    """What lacks a mandatory field fails, whatever the status code says."""
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        answer = await client.post(f"/v1/Invoices/{call}", json=body)

    assert answer.status_code == 200
    assert read_outcome(answer).is_refused
