"""What the two endpoints for signed XML answer in a sandbox, in the shapes of the API's reference ("Invoices")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import uuid

from typing import Final, final

from taxizer_async.testing._sandbox.messages import Answer, answer_json, parse_object


_STANDARD: Final = "/v1/Invoices/GenerateInvoiceFromXml"
_SIMPLIFIED: Final = "/v1/Invoices/GenerateInvoiceFromXmlRequest"
_FIELDS: Final = ("uuid", "deviceId", "invoiceNumber", "signedXmlInvoice")
#: A PNG of one pixel.
_QR_CODE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
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
