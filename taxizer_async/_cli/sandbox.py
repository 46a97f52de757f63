"""The command `sandbox`: serve a sandbox until a signal ends it."""

from __future__ import annotations

import importlib
import shlex
import signal
import sys
import time

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from taxizer_async._core.errors import ConfigurationError


if TYPE_CHECKING:
    from taxizer_async.testing import Fault, Sandbox


#: Seconds beyond which a time leaves the calendar.
_MOST: Final = 1e9


def _check_seconds(value: float) -> float:
    if not abs(value) <= _MOST:
        msg = f"seconds go from {-_MOST:.0f} to {_MOST:.0f}"
        raise typer.BadParameter(msg)
    return value


def _seconds(text: str, *, low: float | None = None) -> Any:
    return typer.Option(min=low, metavar="SECONDS", help=text, callback=_check_seconds)


def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 0,
    lifetime: Annotated[float, _seconds("Seconds that a token lives.")] = 900.0,
    refresh_lifetime: Annotated[float, _seconds("Seconds that a refresh token lives.")] = 86400.0,
    clock_offset: Annotated[
        float, _seconds("Seconds that its clock is ahead of this machine's.")
    ] = 0.0,
    latency: Annotated[float, _seconds("Seconds that each answer takes at least.", low=0)] = 0.0,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHERE=FAULT[:TIMES]",
            help="Let requests to WHERE (connect, refresh, resource, all or a path) meet FAULT (a status, "
            "reset, hang, truncate or drop): all of them, or the first TIMES. May be given more than once.",
        ),
    ] = None,
) -> None:
    """Run a server that speaks the contract of Taxizer's auth, until Ctrl-C or SIGTERM."""
    server = load_sandbox()(
        port=port,
        lifetime=lifetime,
        refresh_lifetime=refresh_lifetime,
        clock_offset=clock_offset,
        connect_latency=latency,
        refresh_latency=latency,
        resource_latency=latency,
    )
    for text in fail or ():
        _plan(server, text)
    try:
        _serve(server)
    except OSError as cause:
        msg = f"port {port} can't be used: {cause.strerror}"
        raise ConfigurationError(msg) from cause


def load_sandbox() -> type[Sandbox]:
    """
    Import `Sandbox`, which needs a server that most commands don't.

    Raises:
        ConfigurationError: If the server is not installed.
    """
    from taxizer_async.testing import Sandbox  # noqa: PLC0415 - see above

    try:
        # A sandbox imports it when it starts.
        importlib.import_module("taxizer_async.testing._sandbox.server")
    except ImportError as cause:
        raise ConfigurationError(str(cause)) from cause
    return Sandbox


def _plan(sandbox: Sandbox, text: str) -> None:
    """Let *sandbox* fail as an option says."""
    where, _, rest = text.rpartition("=")
    name, _, times = rest.partition(":")
    try:
        fault = _fault(name)
        for place in ("connect", "refresh", "resource") if where == "all" else (where,):
            sandbox.fail(place, fault, times=int(times) if times else None)
    except ValueError as cause:
        msg = f"--fail {text!r} is not understood; --fail connect=503:2 is an example"
        raise ConfigurationError(msg) from cause


def _fault(name: str) -> Fault:
    from taxizer_async.testing import Fault  # noqa: PLC0415 - as in load_sandbox

    named = {
        "reset": Fault.reset,
        "hang": Fault.hang,
        "truncate": Fault.truncate,
        "drop": Fault.drop_after_processing,
    }
    return named[name]() if name in named else Fault.status(int(name))


def _serve(sandbox: Sandbox) -> None:
    """Start *sandbox*, print how to reach it, and return after SIGINT or SIGTERM."""
    try:
        # Shells start background jobs with SIGINT ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        with sandbox:
            sys.stdout.write(_directions(sandbox))
            sys.stdout.flush()
            while True:
                # Signals end this wait on all systems; they don't end a wait for a thread.
                time.sleep(3600.0)
    except KeyboardInterrupt:
        return


def _directions(sandbox: Sandbox) -> str:
    credentials = sandbox.credentials
    variables = {
        "TAXIZER_BASE_URL": sandbox.base_url,
        "TAXIZER_CLIENT_ID": credentials.client_id,
        "TAXIZER_CLIENT_SECRET": credentials.client_secret.reveal(),
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    first = (
        f"Taxizer sandbox at {sandbox.base_url} (Ctrl-C ends it; open it in a browser to watch it)"
    )
    return "\n".join([first, *exports, ""])
