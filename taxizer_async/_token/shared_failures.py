"""Failures as the clients of a store share them: which ones, and how they become records and back."""

from __future__ import annotations

import hmac

from typing import TypeAlias, TypeGuard

from taxizer_async._core.exchange import Malformed, Refused, Unavailable, may_pass
from taxizer_async._core.models import Credentials
from taxizer_async._token.failures import Cause
from taxizer_async.stores import FailureRecord
from taxizer_async.stores._protocol import FailureKind


Answer: TypeAlias = Refused | Unavailable | Malformed


def is_answer(cause: Cause) -> TypeGuard[Answer]:
    """
    Return whether an endpoint answered *cause*, so that other clients would get the same.

    The rest only this machine may see: DNS, connections, TLS, time-outs, a proxy's pages.
    """
    if isinstance(cause, Malformed):
        return cause.is_the_apis
    if isinstance(cause, Unavailable):
        return may_pass(cause.status_code or 0)
    return isinstance(cause, Refused)


def pair_name(credentials: Credentials, base_url: str) -> str:
    """Return a name for *credentials* that can't be made, nor guessed at, without the clientSecret."""
    # A lone surrogate, as from a damaged variable, must not raise an error that quotes the secret.
    return hmac.digest(
        credentials.client_secret.reveal().encode("utf-8", "surrogatepass"),
        repr((base_url, credentials.client_id)).encode(),
        "sha256",
    ).hex()


def kind_and_text(cause: Answer) -> tuple[FailureKind, str]:
    """Return what a record says of *cause* besides its status."""
    match cause:
        case Refused():
            return "refused", ""
        case Unavailable(reason=reason):
            return "unavailable", reason
        case Malformed(excerpt=excerpt):
            return "malformed", excerpt


def to_cause(record: FailureRecord) -> Answer:
    """Return the cause that *record* was made of."""
    status, text = record.status_code, record.text
    match record.kind:
        case "refused":
            return Refused(status_code=status)
        case "unavailable":
            return Unavailable(reason=text, status_code=status)
        case "malformed":
            return Malformed(status_code=status, excerpt=text, is_the_apis=True)
