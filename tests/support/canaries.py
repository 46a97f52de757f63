"""Secrets that are easy to find, and the search for them in all that an operator gets to see."""

from __future__ import annotations

import contextlib
import logging
import pickle
import traceback

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, final

from taxizer_async.testing import Sandbox


#: Return where a secret is seen in the things given.
Exposed = Callable[..., list[str]]

SECRET: Final = "cnry-client-5b1e7a"
ECHO: Final = "cnry-echoed-9c2d44"

#: Frames of the tests may show what they like.
_OWN_FOLDER: Final = str(Path(__file__).parents[1])
_LOGGERS: Final = ("", "taxizer_async", "httpx", "httpcore", "h11", "asyncio", "anyio", "trio")


@final
class _Log(logging.Handler):
    """Keeps all that can be made of any record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        shown = [record.getMessage(), repr(record.args), self.format(record), repr(vars(record))]
        self.texts.append((record.name, "\n".join(shown)))


@contextlib.contextmanager
def logged() -> Iterator[list[tuple[str, str]]]:
    """Collect what any logger says at DEBUG, as pairs of its name and the text."""
    handler = _Log()
    with contextlib.ExitStack() as restoring:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            restoring.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        logging.getLogger().addHandler(handler)
        restoring.callback(logging.getLogger().removeHandler, handler)
        yield handler.texts


def canaries_of(sandbox: Sandbox) -> list[str]:
    """Return what must be seen nowhere, as of now."""
    signatures = [jwt.rpartition(".")[2] for jwt in sandbox.issued_jwts]
    return [SECRET, ECHO, *signatures, *sandbox.issued_refresh_tokens]


def exposures(
    canaries: list[str], log: list[tuple[str, str]], things: Iterable[object]
) -> list[str]:
    """Return where one of *canaries* is seen: in the log so far, or in one of the things."""
    looks = [(f"log of {name}", text) for name, text in log]
    for thing in things:
        looks += _looks_at(thing)
    return [
        f"{canary!r} in {where}: {_around(text, canary)}"
        for where, text in looks
        for canary in canaries
        if canary in text
    ]


def _around(text: str, canary: str) -> str:
    at = text.index(canary)
    return text[max(0, at - 150) : at + len(canary) + 50]


def _looks_at(thing: object) -> Iterator[tuple[str, str]]:
    kind = type(thing).__name__
    yield f"repr of {kind}", repr(thing)
    yield f"str of {kind}", str(thing)
    yield f"format of {kind}", f"{thing}"
    # What can't be pickled shows nothing.
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        yield f"pickle of {kind}", pickle.dumps(thing).decode("latin-1")
    if isinstance(thing, BaseException):
        for error in _chain_of(thing, set()):
            yield from _looks_at_error(error)
        whole = traceback.TracebackException.from_exception(thing)
        yield f"traceback of {kind}", "".join(whole.format())


def _looks_at_error(error: BaseException) -> Iterator[tuple[str, str]]:
    kind = type(error).__name__
    yield f"repr of {kind}", repr(error)
    yield f"str of {kind}", str(error)
    yield f"args of {kind}", repr(error.args)
    yield f"vars of {kind}", repr(vars(error))
    yield f"notes of {kind}", repr(getattr(error, "__notes__", None))
    # Until Python 3.12 it fails where a repr does.
    with contextlib.suppress(Exception):
        captured = traceback.TracebackException.from_exception(error, capture_locals=True)
        for summary in captured.stack:
            if not summary.filename.startswith(_OWN_FOLDER):
                yield f"captured locals of {summary.name}", repr(summary.locals)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if not code.co_filename.startswith(_OWN_FOLDER):
            for name, value in frame.f_locals.items():
                where = f"{name} in {code.co_name} ({Path(code.co_filename).name})"
                yield where, _safe_repr(value)


def _chain_of(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *members, *error.args):
        if isinstance(other, BaseException):
            yield from _chain_of(other, seen)


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as problem:  # noqa: BLE001 - whatever a foreign repr raises
        return type(problem).__name__
