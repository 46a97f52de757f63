"""Describe network errors without quoting them, as a transport may quote what it was sending."""

from __future__ import annotations

import os
import socket
import ssl

from typing import TYPE_CHECKING, cast


if TYPE_CHECKING:
    from collections.abc import Iterator


def describe_network_error(error: BaseException) -> str:
    """Return the class of *error*, and the first reason known to the system or TLS among its causes."""
    name = type(error).__name__
    reason = next(filter(None, map(_reason, _causes(error))), None)
    return f"{name} ({reason})" if reason else name


def is_about_certificate(error: BaseException) -> bool:
    """Return whether a server's certificate could not be verified."""
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", cause)
            waiting.extend(group.exceptions)
        waiting += filter(None, (cause.__context__, cause.__cause__))


def _reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate could not be verified"
    if isinstance(error, ssl.SSLError):
        return "TLS"
    if isinstance(error, socket.gaierror):
        return "the host name could not be resolved"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return os.strerror(error.errno)
    return None
