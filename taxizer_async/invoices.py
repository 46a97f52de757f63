"""
Submit signed invoices, and read what the API says of them.

What is known of the API is in its reference ("Invoices"): the two calls that take signed XML. A status code
alone says nothing of an invoice, so the body decides. Nothing here sends an invoice twice.

```python
outcome = await submit_signed_xml(client, uuid=uuid, device_id=device, invoice_number="7", xml=xml)
if outcome.is_accepted: ...
```
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import sys
import uuid as uuids

from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol, TypedDict, Unpack, cast, overload

import attrs
import cattrs

from cattrs.gen import make_dict_structure_fn, override

from taxizer_async._core.codec import describe
from taxizer_async._core.errors import ConfigurationError, TaxizerError
from taxizer_async._core.invoice_values import (
    InvoiceError,
    InvoiceMessage,
    InvoiceNotSentError,
    InvoiceOutcome,
    InvoiceResponseError,
    InvoiceStatus,
    InvoiceUncertainError,
)
from taxizer_async._http.library import HttpLibrary
from taxizer_async._http.network_errors import describe_network_error


__all__ = [
    "InvoiceError",
    "InvoiceMessage",
    "InvoiceNotSentError",
    "InvoiceOutcome",
    "InvoiceResponseError",
    "InvoiceStatus",
    "InvoiceUncertainError",
    "SignedInvoice",
    "read_outcome",
    "submit_signed_xml",
    "submit_signed_xml_request",
]

_FROM_XML: Final = "/v1/Invoices/GenerateInvoiceFromXml"
_FROM_XML_REQUEST: Final = "/v1/Invoices/GenerateInvoiceFromXmlRequest"
#: Headers in which servers and gateways name a request; the API documents none.
_REQUEST_ID_HEADERS: Final = ("X-Request-Id", "Request-Id", "X-Correlation-Id")
_REQUEST_ID: Final = r"[\x21-\x7e]{1,128}"


class Response(Protocol):
    """What is read of a response of httpx or httpx2."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def content(self) -> bytes:
        """The body."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whose names have no case."""
        ...


class AsyncClient(Protocol):
    """`TaxizerClient`, or an `AsyncClient` of httpx or httpx2 with a `base_url` and an auth."""

    def post(self, url: str, *, json: Any) -> Awaitable[Response]:
        """Send a request."""
        ...


class Client(Protocol):
    """A `Client` of httpx or httpx2 with a `base_url` and an auth."""

    def post(self, url: str, *, json: Any) -> Response:
        """Send a request."""
        ...


def read_outcome(response: Response) -> InvoiceOutcome:
    """
    Return what *response* says of the invoice that was sent.

    The body decides and not the status: a refusal may come with 200. Names of fields and statuses are
    read without regard to case; unknown fields are kept in `InvoiceOutcome.raw`.

    Raises:
        InvoiceResponseError: If it says nothing of an invoice, or contradicts itself.
        ConfigurationError: If it is no response of httpx or httpx2.
    """
    if not hasattr(response, "status_code"):
        msg = f"response must be one of httpx or httpx2, not {type(response).__name__}"
        raise ConfigurationError(msg)
    return _verdict(response, uuid=None)


class SignedInvoice(TypedDict):
    """
    What both calls take.

    Attributes:
        uuid: The invoice's own identifier.
        device_id: A registered device.
        invoice_number: The invoice's number.
        xml: The signed XML.
    """

    uuid: str | uuids.UUID
    device_id: str | uuids.UUID
    invoice_number: str
    xml: bytes


@overload
def submit_signed_xml(
    client: AsyncClient, **invoice: Unpack[SignedInvoice]
) -> Awaitable[InvoiceOutcome]: ...
@overload
def submit_signed_xml(client: Client, **invoice: Unpack[SignedInvoice]) -> InvoiceOutcome: ...
def submit_signed_xml(
    client: AsyncClient | Client, **invoice: Unpack[SignedInvoice]
) -> Awaitable[InvoiceOutcome] | InvoiceOutcome:
    """
    Submit a standard (B2B) invoice; the answer carries the verdict.

    Await it with an async client. It is sent once: only a 401 has it sent again, with another token.

    Args:
        client: An async or sync client.
        invoice: See `SignedInvoice`.

    Raises:
        InvoiceNotSentError: If there was no connection.
        InvoiceUncertainError: If it is unknown whether the invoice was taken.
        AuthError: If no token could be had, so that nothing was taken.
        ConfigurationError: If an argument is wrong, or the client has no `base_url`.
    """
    return _submit(client, _FROM_XML, _body(invoice))


@overload
def submit_signed_xml_request(
    client: AsyncClient, **invoice: Unpack[SignedInvoice]
) -> Awaitable[InvoiceOutcome]: ...
@overload
def submit_signed_xml_request(
    client: Client, **invoice: Unpack[SignedInvoice]
) -> InvoiceOutcome: ...
def submit_signed_xml_request(
    client: AsyncClient | Client, **invoice: Unpack[SignedInvoice]
) -> Awaitable[InvoiceOutcome] | InvoiceOutcome:
    """Queue a simplified (B2C) invoice; otherwise as `submit_signed_xml`."""
    return _submit(client, _FROM_XML_REQUEST, _body(invoice))


def _body(invoice: SignedInvoice) -> dict[str, str]:
    number: object = invoice["invoice_number"]
    xml: object = invoice["xml"]
    # JSON may hold half a surrogate pair, which UTF-8 has no bytes for.
    if (
        not isinstance(number, str)
        or not number
        or number.encode(errors="replace").decode() != number
    ):
        msg = "invoice_number must be a str that is not empty and can be encoded in UTF-8"
        raise ConfigurationError(msg)
    if not isinstance(xml, (bytes, bytearray)) or not xml:
        msg = "xml must be the bytes of the signed XML"
        raise ConfigurationError(msg)
    return {
        "uuid": _uuid("uuid", invoice["uuid"]),
        "deviceId": _uuid("device_id", invoice["device_id"]),
        "invoiceNumber": number,
        "signedXmlInvoice": base64.b64encode(xml).decode(),
    }


def _uuid(name: str, value: object) -> str:
    try:
        uuids.UUID(str(value))
    except ValueError:
        pass
    else:
        if isinstance(value, (str, uuids.UUID)):
            return str(value)
    msg = f"{name} must be a UUID, such as {uuids.UUID(int=0)}"
    raise ConfigurationError(msg)


def _submit(
    client: object, path: str, body: dict[str, str]
) -> Awaitable[InvoiceOutcome] | InvoiceOutcome:
    library = _library_of(client)
    if isinstance(client, library.AsyncClient):
        return _submit_async(cast("AsyncClient", client), library, path, body)
    try:
        answer: Response | TaxizerError = cast("Client", client).post(path, json=body)
    except library.RequestError as error:
        answer = _problem(client, error, path, body["uuid"])
    # Outside the handler: the library's error has the request, and with it the token.
    return _verdict(answer, body["uuid"])


async def _submit_async(
    client: AsyncClient, library: Any, path: str, body: dict[str, str]
) -> InvoiceOutcome:
    try:
        answer: Response | TaxizerError = await client.post(path, json=body)
    except library.RequestError as error:
        answer = _problem(client, error, path, body["uuid"])
    return _verdict(answer, body["uuid"])


def _library_of(client: object) -> Any:
    for each in type(client).__mro__:
        name = each.__module__.partition(".")[0]
        if name in {"httpx", "httpx2"} and each.__name__ in {"AsyncClient", "Client"}:
            return sys.modules[name]
    msg = f"client must be a client of httpx or httpx2, not {type(client).__name__}"
    raise ConfigurationError(msg)


def _problem(client: Any, error: Any, path: str, uuid: str) -> TaxizerError:
    """Return the error to raise for *error*, which the HTTP library raised."""
    library, what = _library_of(client), describe_network_error(error)
    if not _is_about_invoice(client, error, path) or not isinstance(
        error, HttpLibrary(library).never_sent
    ):
        return InvoiceUncertainError(f"{what}; {_look_for(uuid)}", uuid=uuid)
    if isinstance(error, library.UnsupportedProtocol):
        return ConfigurationError(f"the client needs a base_url: {what}")
    return InvoiceNotSentError(f"invoice {uuid} was not sent: {what}", uuid=uuid)


def _is_about_invoice(client: Any, error: Any, path: str) -> bool:
    """Return whether *error* came before an answer: one behind a redirect or in a user's hook may not have."""
    try:
        request = error.request
        # What follows a redirect, maybe to the same URL, has a stream, and raises here.
        _ = request.content
    except RuntimeError:
        return False
    # Unless the transport has read it; a hook of the user's may have sent another request.
    return bool(request.method == "POST" and request.url == client.build_request("POST", path).url)


def _look_for(uuid: str) -> str:
    return f"it is unknown whether invoice {uuid} was taken: look for it before you send it again"


def _verdict(response: Response | TaxizerError, uuid: str | None) -> InvoiceOutcome:
    if isinstance(response, TaxizerError):
        raise response
    request_id = _request_id(response)
    outcome = _read(response.content, request_id)
    if outcome is not None:
        return outcome
    excerpt = describe(response.content)
    problem = f"HTTP {response.status_code} with {excerpt} says nothing of an invoice"
    raise InvoiceResponseError(
        problem if uuid is None else f"{problem}; {_look_for(uuid)}",
        status_code=response.status_code,
        excerpt=excerpt,
        uuid=uuid,
        request_id=request_id,
    )


def _request_id(response: Response) -> str | None:
    values = (response.headers.get(name) for name in _REQUEST_ID_HEADERS)
    return next((each for each in values if each and re.fullmatch(_REQUEST_ID, each)), None)


def _read(body: bytes, request_id: str | None) -> InvoiceOutcome | None:
    try:
        found = json.loads(body, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    raw = cast("dict[str, object]", found)
    fields = _folded(raw)
    said = {_word(raw[name]) for name in raw if name.casefold() == "status"}
    fields |= {"status": None, "request_id": request_id, "raw": raw}
    outcome: InvoiceOutcome = _converter().structure(fields, InvoiceOutcome)
    status = _status(said - {""}, outcome)
    return None if status is None else attrs.evolve(outcome, status=status)


def _word(status: object) -> str:
    return status.strip().casefold() if isinstance(status, str) else ""


def _status(said: set[str], outcome: InvoiceOutcome) -> InvoiceStatus | None:
    if "completed" in said:
        if outcome.errors or len(said) > 1:
            return None
        return InvoiceStatus.ACCEPTED_WITH_WARNINGS if outcome.warnings else InvoiceStatus.ACCEPTED
    if "failed" in said or outcome.errors:
        return InvoiceStatus.REFUSED
    if "pending" in said or outcome.transaction_id:
        return InvoiceStatus.PENDING
    return None


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python refuses integers of thousands of digits
        return float(digits)


def _text(value: Any, _: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any, _: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _png(value: Any, _: Any) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) or None if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _messages(value: Any, _: Any) -> tuple[InvoiceMessage, ...]:
    if not value:
        return ()
    return tuple(map(_message, cast("list[object]", value) if isinstance(value, list) else [value]))


def _message(raw: object) -> InvoiceMessage:
    fields = _folded(raw)
    return InvoiceMessage(
        type=_text(fields.get("type"), None), code=_text(fields.get("code"), None), raw=raw
    )


def _folded(value: object) -> dict[str, object]:
    given = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    fields: dict[str, object] = {}
    for name, field in given.items():
        # Of two spellings the one counts that is not empty.
        fields[name.casefold()] = fields.get(name.casefold()) or field
    return fields


def _as_it_is(value: Any, _: Any) -> Any:
    return value


# Built at the first answer, so that imports do not pay for it.
@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    fields: dict[str, Any] = {
        "status": override(struct_hook=_as_it_is),
        "errors": override(rename="errormessages", struct_hook=_messages),
        "warnings": override(rename="warningmessages", struct_hook=_messages),
        "message": override(struct_hook=_text),
        "transaction_id": override(rename="transactionid", struct_hook=_text),
        "qr_code": override(rename="qrcode", struct_hook=_png),
        "signed_invoice": override(rename="signedinvoice", struct_hook=_text),
        "invoice_hash": override(rename="invoicehash", struct_hook=_text),
        "invoice_counter": override(rename="invoicecounter", struct_hook=_count),
        "request_id": override(struct_hook=_as_it_is),
        "raw": override(struct_hook=_as_it_is),
    }
    converter.register_structure_hook(
        InvoiceOutcome, make_dict_structure_fn(InvoiceOutcome, converter, **fields)
    )
    return converter
