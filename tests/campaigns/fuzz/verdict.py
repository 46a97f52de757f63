"""Which errors an input may cause, and whether one shows a secret."""

from __future__ import annotations

import contextlib
import traceback

from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Final

import taxizer_async

from taxizer_async import TaxizerError


#: Part of every secret …
CANARY: Final = "cnry-5ecret"
#: … and this of other input: no error quotes it, but a frame may hold a token's names.
ECHO: Final = "cnry-echo"

_PACKAGE: Final = str(Path(taxizer_async.__file__).parent)


class BrokenError(AssertionError):
    """A rule is broken; the message says which."""


def require(holds: object, rule: str) -> None:
    """
    Check that a rule *holds*.

    Raises:
        BrokenError: If it does not.
    """
    if not holds:
        raise BrokenError(rule)


def judge(error: Exception) -> str:
    """
    Return the class of *error*, which left the package.

    Raises:
        BrokenError: If it is not a typed one, or shows a secret.
    """
    if not isinstance(error, TaxizerError):
        raise error
    shown = list(_leaks(error))
    require(not shown, f"no secret is seen in {', '.join(shown)}")
    return type(error).__name__


async def kind_of(call: Awaitable[object]) -> str:
    """Return the outcome of *call*: "ok", or the class of a typed error."""
    try:
        await call
    except Exception as error:  # noqa: BLE001 - judged
        return judge(error)
    return "ok"


def shows_canary(*things: object) -> bool:
    """Return whether a text made of one of *things* quotes a secret or other input."""
    texts = [text for thing in things for text in (str(thing), repr(thing))]
    return any(marked in text for text in texts for marked in (CANARY, ECHO))


def _leaks(error: BaseException) -> Iterator[str]:
    for each in _chain(error, set()):
        notes = getattr(each, "__notes__", ())
        if shows_canary(each, each.args, vars(each), notes):
            yield type(each).__name__
        for frame, line in traceback.walk_tb(each.__traceback__):
            if not frame.f_code.co_filename.startswith(_PACKAGE):
                continue
            for name, value in frame.f_locals.items():
                if CANARY in _safe_repr(value):
                    yield f"{Path(frame.f_code.co_filename).name}:{line} {name}"


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from _chain(error.__cause__, seen)
    yield from _chain(error.__context__, seen)


def _safe_repr(value: object) -> str:
    # The repr of a half-made object may raise; error reporters survive that, too.
    with contextlib.suppress(Exception):
        return repr(value)
    return ""
