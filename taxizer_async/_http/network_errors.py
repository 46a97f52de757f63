"""Describes network errors without quoting them, as a transport may quote what it was sending."""

from __future__ import annotations

import os
import socket
import ssl

from collections.abc import Iterator
from typing import Any


def describe_network_error(error: BaseException) -> str:
    """Return the class of *error*, and the first reason known to the system or TLS among its causes."""
    name, reason = type(error).__name__, reason_of(error)
    return f"{name} ({reason})" if reason else name


def reason_of(error: BaseException) -> str | None:
    """Return the first reason known to the system or TLS among the causes of *error*."""
    return next(filter(None, map(_reason, causes_of(error))), None)


def is_about_certificate(error: BaseException) -> bool:
    """Return whether a server's certificate could not be verified."""
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in causes_of(error))


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, its causes and contexts, and the members of groups."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            group: Any = each  # pyright: ignore[reportUnknownVariableType]
            waiting += group.exceptions
        waiting += (each.__context__, each.__cause__)


def _reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the server's certificate could not be verified"
    if isinstance(error, ssl.SSLError):
        return "TLS"
    if isinstance(error, socket.gaierror):
        return "the host name could not be resolved"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return os.strerror(error.errno)
    return None
