"""What each endpoint of a sandbox answers when nothing interferes; `app` waits and counts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import uuid

from typing import Final, final
from urllib.parse import parse_qs

from taxizer_async.testing._sandbox.faults import CHALLENGE
from taxizer_async.testing._sandbox.messages import (
    Answer,
    Request,
    answer_json,
    answer_problem,
    parse_object,
)
from taxizer_async.testing._sandbox.tokens import APP_ID, Settings, TokenIssuer


_BAD_REQUEST: Final = "The request body is not as documented."

_STANDARD: Final = "/v1/Invoices/GenerateInvoiceFromXml"
_SIMPLIFIED: Final = "/v1/Invoices/GenerateInvoiceFromXmlRequest"
_FIELDS: Final = ("uuid", "deviceId", "invoiceNumber", "signedXmlInvoice")
#: A PNG of one pixel.
_QR_CODE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@final
class Endpoints:
    """The documented endpoints, and some resources to try a client on."""

    def __init__(self, settings: Settings, issuer: TokenIssuer) -> None:
        self._settings = settings
        self._issuer = issuer
        self._invoices = Invoices()

    def answer(self, request: Request) -> Answer:
        if request.record.group == "resource":
            return self._resource(request)
        if request.record.method != "POST":
            return answer_problem(405, "Method Not Allowed", (b"allow", b"POST"))
        if request.record.group == "connect":
            return self._connect(request)
        return self._refresh(request)

    def _connect(self, request: Request) -> Answer:
        values = _strings(request.body, "clientId", "clientSecret")
        if values is None:
            return answer_problem(400, _BAD_REQUEST)
        if not self._settings.accepts(*values):
            return answer_problem(400, "clientId or clientSecret is incorrect.")
        return answer_json(self._issuer.connect(values[0]))

    def _refresh(self, request: Request) -> Answer:
        values = _strings(request.body, "refreshToken")
        if values is None:
            return answer_problem(400, _BAD_REQUEST)
        fields = self._issuer.refresh(*values)
        if fields is None:
            status = self._settings.refusal_status
            return answer_problem(status, "refreshToken is not valid.")
        return answer_json(fields)

    def _resource(self, request: Request) -> Answer:
        path = request.record.path
        if not path.startswith("/v1/"):
            return answer_problem(404, "Not Found")
        if not self._issuer.is_good(request.bearer):
            return answer_problem(401, "Unauthorized", (b"www-authenticate", CHALLENGE.encode()))
        if path == "/v1/stream":
            return Answer(200, ((b"content-type", b"text/plain"),), endless=True)
        if path == "/v1/redirect":
            return _redirect(request.query)
        if path == "/v1/echo":
            return _echo(request, self._issuer.client_of(request.bearer))
        return self._invoices.answer(request.record.method, path, request.body) or answer_json(
            {"path": path, "app": APP_ID, "received": len(request.body)}
        )


@final
class Invoices:
    """Takes every invoice that has the four fields, as often as it comes: nothing is known of repeats."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)

    def answer(self, method: str, path: str, body: bytes) -> Answer | None:
        """Return the answer to a signed invoice; None if the request is another one."""
        if method != "POST" or path not in {_STANDARD, _SIMPLIFIED}:
            return None
        fields = parse_object(body) or {}
        missing = [name for name in _FIELDS if not isinstance(fields.get(name), str)]
        xml = _decoded(fields.get("signedXmlInvoice"))
        if missing or not xml:
            codes = missing or ["signedXmlInvoice"]
            errors = [{"type": "ERROR", "code": f"{code} is missing or wrong"} for code in codes]
            return answer_json({"status": "failed", "warningMessages": [], "errorMessages": errors})
        if path == _SIMPLIFIED:
            queued = {
                "transactionId": str(uuid.uuid4()),
                "qrCode": _QR_CODE,
                "status": "Pending",
                "message": "The invoice is queued.",
            }
            return answer_json(queued, status=202)
        return answer_json(
            {
                "status": "completed",
                "warningMessages": [],
                "errorMessages": [],
                "qrCode": _QR_CODE,
                "signedInvoice": fields["signedXmlInvoice"],
                "invoiceHash": base64.b64encode(hashlib.sha256(xml).digest()).decode(),
                "invoiceCounter": next(self._counter),
            }
        )


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""


def _redirect(query: str) -> Answer:
    parameters = parse_qs(query)
    target = parameters.get("to", [""])[0]
    status = parameters.get("status", ["302"])[0]
    if not target or status not in {"301", "302", "303", "307", "308"}:
        return answer_problem(400, "to=URL&status=301, 302, 303, 307 or 308")
    return Answer(int(status), ((b"location", target.encode("latin-1", "replace")),))


def _echo(request: Request, client_id: str) -> Answer:
    headers: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        if key != "authorization":
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return answer_json(
        {
            "method": request.record.method,
            "path": request.record.path,
            "app": APP_ID,
            "client": client_id,
            "received": len(request.body),
            "headers": headers,
        }
    )


def _strings(body: bytes, *names: str) -> list[str] | None:
    content = parse_object(body) or {}
    values = [content.get(name) for name in names]
    strings = [value for value in values if isinstance(value, str)]
    return strings if len(strings) == len(names) else None
