"""What httpx does without the package: an error that it raises there, too, is the user's to see."""

from __future__ import annotations

import functools
import ssl
import warnings

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from taxizer_async import TaxizerError


class HttpxRefusesError(Exception):
    """httpx.AsyncClient itself refuses the options, with the error named here."""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return one context for all inputs, as making one takes milliseconds."""
    return httpx.create_ssl_context()


@contextmanager
def httpx_may_refuse(options: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """
    Give *options* for an httpx.AsyncClient.

    Raises:
        HttpxRefusesError: For an error that it also raises without the package.
    """
    try:
        yield options()
    except TaxizerError:
        raise
    except Exception as error:
        if type(_refusal(options())) is type(error):
            raise HttpxRefusesError(type(error).__name__) from None
        raise


@contextmanager
def generators_may_be_left() -> Iterator[None]:
    """Let httpx leave generators behind, as it does where it can't decode a resource's body."""
    with warnings.catch_warnings():
        for module in ("httpx", "httpcore"):
            warnings.filterwarnings("ignore", f"Async generator '{module}", ResourceWarning)
        yield


def _refusal(options: dict[str, Any]) -> Exception | None:
    try:
        httpx.AsyncClient(base_url="https://api.example", **options)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None
