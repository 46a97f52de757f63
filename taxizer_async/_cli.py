"""
The command line: arguments in, text and exit codes out.

Exit codes: 0; 1 the credentials were refused, or the demo failed; 2 wrong usage or configuration; 3 no
token could be had. An error is one line on stderr. Nothing in here knows how a token is got, and
`token` alone may print one.
"""

from __future__ import annotations

import enum
import importlib.util
import logging
import sys

from typing import TYPE_CHECKING, Annotated, Final, cast

import anyio
import typer

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taxizer_async._auth import TaxizerAuth
from taxizer_async._errors import (
    ConfigurationError,
    CredentialsRejectedError,
    TaxizerError,
)
from taxizer_async._models import DEFAULT_BASE_URL, Credentials
from taxizer_async._serve import serve
from taxizer_async._version import __version__


if TYPE_CHECKING:
    from taxizer_async._demo import Summary
    from taxizer_async._models import Token
    from taxizer_async.testing import Sandbox


PROGRAM: Final = "taxizer-async"

_REFUSED: Final = 1
_DEMO_FAILED: Final = 1
_USAGE: Final = 2
_UNAVAILABLE: Final = 3
#: What shells report of a program that was ended by SIGINT.
_INTERRUPTED: Final = 130

# typer ships its own click, or takes the installed one: this is the root of either's errors.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[2]

app: Final = typer.Typer(
    name=PROGRAM,
    help="Log in to Taxizer, see who you are, or try it all without an account.",
    add_completion=False,
    # They would show the locals of every frame, secrets included.
    pretty_exceptions_enable=False,
)

BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TAXIZER_BASE_URL", help="Where the API is.", show_default=DEFAULT_BASE_URL
    ),
]


class Backend(enum.StrEnum):
    """The event loops that the demo runs on."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


def run() -> int:
    """Run the program with the arguments of this process, and return its exit code."""
    # Whatever is worth a line is an error's message; more of them would not be one line.
    logging.getLogger("taxizer_async").addHandler(logging.NullHandler())
    try:
        result: object = app(prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        return _INTERRUPTED
    except TaxizerError as error:
        code, message = _exit_code(error), str(error)
    except _UsageError as error:
        code, message = _USAGE, cast("typer.BadParameter", error).format_message()
    else:
        return result if isinstance(result, int) else 0
    _complain(message)
    return code


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(_USAGE)


@app.command()
def token(base_url: BaseUrl = None) -> None:
    """
    Print a token, and nothing else.

    For shells: curl -H "Authorization: Bearer $(taxizer-async token)". The credentials are those of
    the environment: TAXIZER_CLIENT_ID and TAXIZER_CLIENT_SECRET.
    """
    # The one place where a secret is printed on purpose.
    typer.echo(anyio.run(_auth(base_url).token).jwt.reveal())


@app.command()
def whoami(base_url: BaseUrl = None) -> None:
    """Log in with the credentials of the environment, and tell as whom."""
    anyio.run(_show_owner, _auth(base_url))


@app.command()
def demo(
    requests: Annotated[int, typer.Option(min=20, help="How many to send at once.")] = 1000,
    backend: Annotated[Backend, typer.Option(help="The event loop to run on.")] = Backend.ASYNCIO,
) -> None:
    """
    Send 1,000 requests at once through an expiry, a revocation and an outage.

    Needs no account: all of it runs against a sandbox on this machine. Is drawn live on a terminal,
    unless the variable CI is set.
    """
    if importlib.util.find_spec(backend.value) is None:
        message = f"{backend.value} is not installed: pip install {backend.value}"
        raise typer.BadParameter(message)
    _need_sandbox()
    from taxizer_async._demo_display import play  # noqa: PLC0415 - it brings a server along

    raise typer.Exit(_judge(play(requests, backend=backend.value)))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is a free one.")] = 0,
    lifetime: Annotated[float, typer.Option(help="Seconds that a token lives.")] = 900.0,
    refresh_lifetime: Annotated[
        float, typer.Option(help="Seconds that a refresh token lives.")
    ] = 86400.0,
    clock_offset: Annotated[
        float, typer.Option(help="Seconds that its clock is ahead of this one.")
    ] = 0.0,
    latency: Annotated[
        float, typer.Option(min=0, help="Seconds that each answer takes at least.")
    ] = 0.0,
) -> None:
    """Run a server that speaks the contract of Taxizer's auth, until Ctrl-C or SIGTERM."""
    server = _need_sandbox()(
        port=port,
        lifetime=lifetime,
        refresh_lifetime=refresh_lifetime,
        clock_offset=clock_offset,
        connect_latency=latency,
        refresh_latency=latency,
        resource_latency=latency,
    )
    try:
        serve(server)
    except OSError as cause:
        message = f"port {port} can't be had: {cause.strerror}"
    else:
        return
    raise ConfigurationError(message)


def _need_sandbox() -> type[Sandbox]:
    try:
        from taxizer_async.testing import Sandbox  # noqa: PLC0415 - it brings a server along
    except ImportError as cause:
        message = str(cause)
    else:
        return Sandbox
    raise ConfigurationError(message)


def _auth(base_url: str | None) -> TaxizerAuth:
    return TaxizerAuth(Credentials.from_env(), base_url=base_url or DEFAULT_BASE_URL)


async def _show_owner(auth: TaxizerAuth) -> None:
    rows = _describe(await auth.token(), auth.status().expires_in)
    if not sys.stdout.isatty():
        for name, value in rows:
            typer.echo(f"{name}: {value}")
        return
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(name, Text(value))
    Console().print(table)


def _describe(token: Token, expires_in: float | None) -> list[tuple[str, str]]:
    values = {
        "app_name": token.app_name,
        "app_id": token.app_id,
        "account_name": token.account_name,
        "account_id": token.account_id,
        "username": token.username,
        "expires_at": token.expires_at and f"{token.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        "expires_in": None if expires_in is None else f"{expires_in:.0f} s",
    }
    return [(name, _printable(value or "unknown")) for name, value in values.items()]


def _printable(text: str) -> str:
    """Return *text*, which a server wrote, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _judge(summary: Summary | None) -> int:
    if summary is None:
        return _INTERRUPTED
    for problem in summary.problems:
        _complain(problem)
    return _DEMO_FAILED if summary.problems else 0


def _exit_code(error: TaxizerError) -> int:
    if isinstance(error, CredentialsRejectedError):
        return _REFUSED
    if isinstance(error, ConfigurationError):
        return _USAGE
    return _UNAVAILABLE


def _complain(message: str) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
