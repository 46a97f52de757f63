"""Reads the environment variables that configure a client, and the files that their `_FILE` variants name."""

from __future__ import annotations

import os
import stat

from pathlib import Path
from typing import Final

from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret, UnreadySecretError


#: The only host that the API reference documents.
DEFAULT_BASE_URL: Final = "https://apistaging.taxizer.com"

#: Bytes; no credential is longer.
_MAX_FILE: Final = 65_536


def find_base_url() -> str:
    """Return `TAXIZER_BASE_URL`, or the documented host if it is unset or empty."""
    return os.environ.get("TAXIZER_BASE_URL") or DEFAULT_BASE_URL


def find_variable(name: str) -> Secret | None:
    """
    Read the environment variable *name*, or the file that its `_FILE` variant names; None if neither is set.

    A trailing newline is stripped, and an empty variable counts as unset.

    Raises:
        ConfigurationError: If both are set, or the file can't be read.
    """
    file_variable = f"{name}_FILE"
    if os.environ.get(name) and os.environ.get(file_variable):
        msg = f"both {name} and {file_variable} are set: unset one of them"
        raise ConfigurationError(msg)
    if os.environ.get(name):
        return Secret(os.environ[name].rstrip("\r\n"))
    if os.environ.get(file_variable):
        return _read_file(file_variable, Path(os.environ[file_variable]))
    return None


def read_variable(name: str) -> Secret:
    """
    Read the variable *name*, or the file that its `_FILE` variant names (see `find_variable`).

    Raises:
        ConfigurationError: If neither is set, both are, or the file can't be read.
    """
    value = find_variable(name)
    if value is None:
        msg = f"{name} is not set (nor is {name}_FILE): set one of them"
        raise ConfigurationError(msg)
    return value


def _read_file(variable: str, path: Path) -> Secret:
    try:
        return Secret(_read_regular(path).decode("utf-8-sig").rstrip("\r\n"))
    except (OSError, ValueError) as cause:
        problem = str(cause) if type(cause) is ValueError else type(cause).__name__
    # Not quoted, and not left in this frame: the secret itself may have been put there by mistake.
    del path
    msg = f"{variable} does not name a file that can be read ({problem}): check the path in it"
    raise UnreadySecretError(msg)


def _read_regular(path: Path) -> bytes:
    # Opening a pipe would wait for its writer, and reading a device would never end.
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            msg = "not a regular file"
            raise ValueError(msg)
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        msg = f"more than {_MAX_FILE:,} bytes"
        raise ValueError(msg)
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
