"""The API's verdict on an invoice, and the errors if there is none; nothing here reads or sends."""

from __future__ import annotations

import enum

from collections.abc import Mapping
from typing import Any

import attrs

from taxizer_async._core.errors import TaxizerError


class InvoiceStatus(enum.StrEnum):
    """What the API said of an invoice."""

    ACCEPTED = "accepted"
    ACCEPTED_WITH_WARNINGS = "accepted_with_warnings"
    REFUSED = "refused"
    #: It is queued; the result goes to the account's webhook.
    PENDING = "pending"


@attrs.frozen(kw_only=True)
class InvoiceMessage:
    """
    A warning or an error.

    Attributes:
        type: Its type, if it is text.
        code: Its code, if it is text.
        raw: The whole message as it came, as more of its fields are not documented.
    """

    type: str | None
    code: str | None
    raw: object = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class InvoiceOutcome:
    """
    What the API said of an invoice.

    Attributes:
        status: The verdict.
        errors: Why it was refused.
        warnings: What to mend next time.
        message: The text beside the verdict.
        transaction_id: Names a queued invoice in the webhook's result.
        qr_code: A PNG, decoded; None if there was none, or if it was not base64.
        signed_invoice: The invoice with the stamp, as it came.
        invoice_hash: Its hash.
        invoice_counter: Its counter.
        request_id: The request id of the answer, where a header had one.
        raw: The whole answer.
    """

    status: InvoiceStatus
    errors: tuple[InvoiceMessage, ...] = ()
    warnings: tuple[InvoiceMessage, ...] = ()
    message: str | None = None
    transaction_id: str | None = None
    qr_code: bytes | None = attrs.field(default=None, repr=False)
    signed_invoice: str | None = attrs.field(default=None, repr=False)
    invoice_hash: str | None = None
    invoice_counter: int | None = None
    request_id: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @property
    def is_accepted(self) -> bool:
        """Whether it was accepted, with warnings or without."""
        return self.status in (InvoiceStatus.ACCEPTED, InvoiceStatus.ACCEPTED_WITH_WARNINGS)

    @property
    def is_refused(self) -> bool:
        """Whether it was refused, so that the same invoice would be refused again."""
        return self.status is InvoiceStatus.REFUSED

    @property
    def is_pending(self) -> bool:
        """Whether it is queued."""
        return self.status is InvoiceStatus.PENDING


class InvoiceError(TaxizerError):
    """
    There is no verdict on an invoice.

    `retryable` says whether the invoice can be sent again without checking whether it was taken.

    Attributes:
        uuid: The invoice's identifier; None if it is unknown.
        request_id: The request id of the answer, where a header had one.
    """

    def __init__(
        self, message: str, *, uuid: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.uuid = uuid
        self.request_id = request_id


class InvoiceNotSentError(InvoiceError):
    """There was no connection, so the invoice was certainly not taken."""

    retryable = True


class InvoiceUncertainError(InvoiceError):
    """It is unknown whether the invoice was taken: look for its uuid before you send it again."""


class InvoiceResponseError(InvoiceUncertainError):
    """
    The response holds no verdict on the invoice.

    Attributes:
        status_code: Its HTTP status.
        excerpt: A description of its body, without any value from it.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        excerpt: str,
        uuid: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, uuid=uuid, request_id=request_id)
        self.status_code = status_code
        self.excerpt = excerpt
