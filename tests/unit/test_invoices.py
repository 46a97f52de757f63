"""What an answer says of an invoice, whatever the server sends."""

from __future__ import annotations

import base64
import copy
import json
import pickle

from typing import Any

import httpx
import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import ConfigurationError
from taxizer_async.invoices import (
    InvoiceOutcome,
    InvoiceResponseError,
    InvoiceStatus,
    InvoiceUncertainError,
    read_outcome,
)


ERROR = {"type": "ERROR", "code": "BR-KSA-13", "category": "unknown to us"}
WARNING = {"type": "WARNING", "code": "BR-KSA-98"}
PNG = b"\x89PNG\r\n\x1a\n"
TRANSACTION = "4a8c1b7e-2f0d-4c5e-9a36-0d2f6f1f7a55"


def answer(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> InvoiceOutcome:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_outcome(httpx.Response(status, content=content, headers=headers))


@pytest.mark.parametrize("code", [200, 201, 202, 400, 422, 500])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "completed"}, "accepted"),
        ({"Status": " COMPLETED "}, "accepted"),
        ({"status": "completed", "errorMessages": [], "warningMessages": None}, "accepted"),
        ({"status": "completed", "warningMessages": [WARNING]}, "accepted_with_warnings"),
        ({"STATUS": "Completed", "WARNINGMESSAGES": WARNING}, "accepted_with_warnings"),
        ({"status": "failed", "errorMessages": [ERROR]}, "refused"),
        ({"status": "failed"}, "refused"),
        ({"errorMessages": [ERROR]}, "refused"),
        ({"status": "pending", "errorMessages": [ERROR]}, "refused"),
        ({"transactionId": TRANSACTION, "errorMessages": ["no object"]}, "refused"),
        ({"status": "Pending"}, "pending"),
        ({"transactionId": TRANSACTION}, "pending"),
        ({"TransactionID": TRANSACTION, "status": "reported"}, "pending"),
        ({"status": "completed", "errorMessages": {}, "warningMessages": ""}, "accepted"),
        ({"status": "failed", "Status": "pending"}, "refused"),
        ({"status": "", "Status": "completed"}, "accepted"),
        ({"status": "pending", "ErrorMessages": [ERROR], "errorMessages": []}, "refused"),
    ],
)
def test_the_body_decides(body: dict[str, Any], status: str, code: int) -> None:
    """The body decides whatever the status code, and no case of a letter matters."""
    assert answer(body, status=code).status == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"completed"',
        b"[" * 100_000,
        b'{"status": "completed"',
        {},
        {"status": "done"},
        {"status": 1},
        {"status": None, "errorMessages": [], "transactionId": ""},
        {"status": "completed", "errorMessages": [ERROR]},
        {"status": "completed", "errorMessages": [None]},
        {"status": "completed", "ErrorMessages": [ERROR], "errorMessages": []},
        {"Status": "failed", "status": "completed"},
        {"message": "completed"},
        {"jwtToken": "s3cret"},
    ],
)
@pytest.mark.parametrize("code", [200, 502])
def test_no_verdict(body: object, code: int) -> None:
    """An answer that says nothing of an invoice, or contradicts itself, is an error without its values."""
    with pytest.raises(InvoiceResponseError, match="says nothing of an invoice") as caught:
        answer(body, status=code, headers={"X-Request-Id": "r-1"})

    assert caught.value.status_code == code
    assert caught.value.request_id == "r-1"
    assert not caught.value.retryable
    assert "s3cret" not in str(caught.value)
    assert isinstance(caught.value, InvoiceUncertainError)


@pytest.mark.parametrize("response", [None, "200", {}])
def test_what_is_no_response(response: Any) -> None:
    """It is told, and no verdict."""
    with pytest.raises(ConfigurationError, match="response must be one of httpx or httpx2, not"):
        read_outcome(response)


def test_fields() -> None:
    """All documented fields are read, and unknown ones are kept."""
    body = {
        "status": "completed",
        "warningMessages": [WARNING],
        "qrCode": base64.b64encode(PNG).decode(),
        "signedInvoice": "PEludm9pY2U+",
        "invoiceHash": "hash",
        "invoiceCounter": 17,
        "message": "well",
        "more": {"deep": [1]},
    }
    outcome = answer(body, headers={"X-Correlation-Id": "c-1"})

    assert outcome.is_accepted
    assert (outcome.is_refused, outcome.is_pending) == (False, False)
    assert outcome.qr_code == PNG
    assert outcome.signed_invoice == "PEludm9pY2U+"
    assert (outcome.invoice_hash, outcome.invoice_counter, outcome.message) == ("hash", 17, "well")
    assert [each.code for each in outcome.warnings] == ["BR-KSA-98"]
    assert outcome.request_id == "c-1"
    assert outcome.raw == body


def test_messages_keep_what_is_not_documented() -> None:
    """A message keeps all of its fields, and need not be an object."""
    refused = answer({"status": "failed", "errorMessages": [ERROR, "text", 7, {"Code": 13}]})

    assert [(each.type, each.code) for each in refused.errors] == [
        ("ERROR", "BR-KSA-13"),
        (None, None),
        (None, None),
        (None, None),
    ]
    assert [each.raw for each in refused.errors] == [ERROR, "text", 7, {"Code": 13}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark(encoding: str) -> None:
    """JSON may begin with a byte order mark, as .NET writes it."""
    assert answer('{"status": "completed"}'.encode(encoding)).is_accepted


@pytest.mark.parametrize("code", ["QRCode", "qrCode", "qrcode"])
def test_qr_code(code: str) -> None:
    """The QR code has two spellings in the API's reference."""
    assert answer({"status": "pending", code: base64.b64encode(PNG).decode()}).qr_code == PNG


@pytest.mark.parametrize("value", ["", "no base64!", "QQ", 7, None, ["QQ=="]])
def test_qr_code_that_can_not_be_read(value: object) -> None:
    """A QR code that is no base64 costs no verdict."""
    assert answer({"status": "pending", "qrCode": value}).qr_code is None


@pytest.mark.parametrize("value", ["", "two words", "x" * 129, "\x7f"])
def test_request_id_that_is_none(value: str) -> None:
    """A header is quoted only if it can be a request id."""
    assert answer({"status": "pending"}, headers={"Request-Id": value}).request_id is None


def test_a_number_of_thousands_of_digits() -> None:
    """A number that Python refuses as an integer costs no verdict."""
    body = b'{"status": "completed", "invoiceCounter": ' + b"9" * 5000 + b"}"

    assert answer(body).invoice_counter is None


def test_outcomes_show_no_invoice() -> None:
    """The repr leaves out what may be large or about a person."""
    body = {"status": "failed", "signedInvoice": "BUYER", "errorMessages": [{"text": "BUYER"}]}

    assert "BUYER" not in repr(answer({**body, "buyer": "BUYER"}))


def test_errors_are_values() -> None:
    """An error can be pickled and copied."""
    error = InvoiceResponseError("m", status_code=502, excerpt="e", uuid="u", request_id="r")
    for each in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(each), each.status_code, each.uuid, each.request_id) == ("m", 502, "u", "r")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["status", "errorMessages", "warningMessages", "transactionId", "QRCode", "invoiceCounter"]
)
WORDS = st.sampled_from(["completed", "failed", "Pending"])


@given(
    body=st.dictionaries(NAMES | st.text(max_size=8), WORDS | JSON, max_size=6),
    code=st.integers(200, 599),
)
def test_any_object(body: dict[str, Any], code: int) -> None:
    """Any object is a verdict or a typed error, and none with an error is called accepted or pending."""
    try:
        outcome = answer(body, status=code)
    except InvoiceResponseError:
        return
    assert outcome.status in InvoiceStatus
    assert outcome.raw.keys() == body.keys()
    if outcome.errors:
        assert outcome.is_refused


@given(body=st.binary(max_size=64))
def test_any_bytes(body: bytes) -> None:
    """Bytes that are no JSON object are a typed error."""
    with pytest.raises(InvoiceResponseError):
        answer(b"\x00" + body)
