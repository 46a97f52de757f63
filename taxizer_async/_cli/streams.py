"""The standard streams of a run: what if they can't be written, or can't show a character; and the log."""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys

from typing import Any, Final, final

from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.log_lines import LOG


_LOG: Final = "TAXIZER_LOG"
_LEVELS: Final = {"info": logging.INFO, "debug": logging.DEBUG}
_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


class UnwritableError(Exception):
    """
    Stdout can't be written.

    It is no `OSError`, as typer and rich have answers of their own to some of those.
    """


@final
class StandardStream(io.TextIOWrapper):
    """
    Stdout or stderr, which shows what it can't encode as escapes.

    Attributes:
        problem: Why it can't be written, once that has failed; from then on it drops what it is given.
    """

    def __init__(self, stream: Any, *, raises: bool) -> None:
        encoding, by_line = stream.encoding, stream.line_buffering
        # typer would put a stream of its own in the place of one in ASCII.
        if codecs.lookup(encoding).name == "ascii":
            encoding = "utf-8"
        super().__init__(
            stream.detach(), encoding, errors="backslashreplace", line_buffering=by_line
        )
        self.problem: OSError | None = None
        self._raises = raises

    def write(self, text: str, /) -> int:
        self._try(super().write, text)
        return len(text)

    def flush(self) -> None:
        self._try(super().flush)

    def _try(self, call: Any, *arguments: str) -> None:
        if self.problem is not None:
            return
        try:
            call(*arguments)
        except OSError as cause:
            self.problem = cause
        if self.problem is not None and self._raises:
            raise UnwritableError


def guard_streams() -> None:
    """Have stdout raise `UnwritableError` if it can't be written, and stderr nothing."""
    for name, raises in (("stdout", True), ("stderr", False)):
        stream: Any = getattr(sys, name)
        if issubclass(type(stream), io.TextIOWrapper):
            setattr(sys, name, StandardStream(stream, raises=raises))


def problem_of(stream: object) -> OSError | None:
    """Return why *stream* can't be written, if that is known."""
    return stream.problem if isinstance(stream, StandardStream) else None


def start_log() -> None:
    """
    Log to stderr what `TAXIZER_LOG` asks for; without it nothing, as an error message says it all.

    Raises:
        ConfigurationError: If it asks for something else than info or debug.
    """
    wanted = os.environ.get(_LOG, "").lower()
    if not wanted:
        return
    if wanted not in _LEVELS:
        msg = f"{_LOG} must be info or debug: set it to one of them, or unset it"
        raise ConfigurationError(msg)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    LOG.addHandler(handler)
    LOG.setLevel(_LEVELS[wanted])
