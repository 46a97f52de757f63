"""Failures as the clients of a store share them: which ones, and how they become records and back."""

from __future__ import annotations

import hmac

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

import attrs

from taxizer_async._core.exchange import Malformed, Refused, Unavailable
from taxizer_async.stores import FailureRecord


if TYPE_CHECKING:
    from taxizer_async._core.models import Credentials
    from taxizer_async._token.failures import Cause, Failure


Answer: TypeAlias = Refused | Unavailable | Malformed

_TRY_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def is_answer(cause: Cause) -> TypeGuard[Answer]:
    """
    Return whether an endpoint answered *cause*, so that other clients would get the same.

    The rest only this machine may see: DNS, connections, TLS, time-outs, a proxy's pages.
    """
    if isinstance(cause, Malformed):
        return cause.is_the_apis
    if isinstance(cause, Unavailable):
        status = cause.status_code or 0
        return status in _TRY_LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(cause, Refused)


def pair_name(credentials: Credentials, base_url: str) -> str:
    """Return a name for *credentials* that can't be made, nor guessed at, without the clientSecret."""
    # A lone surrogate, as from a damaged variable, must not raise an error that quotes the secret.
    return hmac.digest(
        credentials.client_secret.reveal().encode("utf-8", "surrogatepass"),
        repr((base_url, credentials.client_id)).encode(),
        "sha256",
    ).hex()


def to_record(
    failure: Failure, cause: Answer, *, base_url: str, failures: int, now: float
) -> FailureRecord:
    """
    Return the record of *failure*.

    Args:
        failure: What is remembered here.
        cause: Its cause.
        base_url: The API that the token is for.
        failures: How many exchanges have failed in a row.
        now: The time (`Clock.monotonic`).
    """
    rejected = failure.rejected
    record = FailureRecord(
        kind="refused",
        endpoint=failure.endpoint,
        status_code=cause.status_code or 0,
        text="",
        pair=None if rejected is None else pair_name(rejected, base_url),
        failures=failures,
        ahead_of_need=failure.ahead_of_need,
        remaining=(failure.until if rejected is None else failure.rejected_until) - now,
    )
    if isinstance(cause, Unavailable):
        return attrs.evolve(record, kind="unavailable", text=cause.reason)
    if isinstance(cause, Malformed):
        return attrs.evolve(record, kind="malformed", text=cause.excerpt)
    return record


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
