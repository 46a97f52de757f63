"""Runs a sandbox for the command line until a signal ends it; what a sandbox does is not known here."""

from __future__ import annotations

import shlex
import signal
import sys
import time

from typing import TYPE_CHECKING, NoReturn


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox


class _Stop(BaseException):
    """A signal asks for the end."""


def serve(sandbox: Sandbox) -> None:
    """
    Start *sandbox*, print how to reach it, and return after SIGINT or SIGTERM.

    Raises:
        OSError: If its port can't be had.
    """
    try:
        # Shells have background jobs ignore SIGINT, unless these say otherwise.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        with sandbox:
            sys.stdout.write(_directions(sandbox))
            sys.stdout.flush()
            while True:
                # Unlike that of threads, this wait is ended by signals everywhere.
                time.sleep(3600.0)
    except _Stop:
        return


def _stop(*_: object) -> NoReturn:
    raise _Stop


def _directions(sandbox: Sandbox) -> str:
    credentials = sandbox.credentials
    variables = {
        "TAXIZER_BASE_URL": sandbox.base_url,
        "TAXIZER_CLIENT_ID": credentials.client_id,
        "TAXIZER_CLIENT_SECRET": credentials.client_secret.reveal(),
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines = [f"Taxizer sandbox at {sandbox.base_url} (Ctrl-C ends it)", *exports]
    return "".join(f"{line}\n" for line in lines)
