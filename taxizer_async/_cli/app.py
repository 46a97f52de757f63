"""
The command line: arguments in, text and exit codes out.

An error is one line on stderr. `token` is the only command that prints a token.
"""

from __future__ import annotations

import sys

from typing import Annotated, Final, cast

import anyio
import typer

from taxizer_async._auth.on_httpx import TaxizerAuth
from taxizer_async._cli import store as store_commands
from taxizer_async._cli.completion import PROGRAM, completion, prepare_completion
from taxizer_async._cli.demo.command import demo
from taxizer_async._cli.doctor.command import doctor
from taxizer_async._cli.exit_codes import ExitCode
from taxizer_async._cli.help import CommandHelp, GroupHelp
from taxizer_async._cli.options import Json, with_store
from taxizer_async._cli.output import (
    expiry_rows,
    owner_rows,
    print_error,
    print_warning,
    require_command,
    show_rows,
)
from taxizer_async._cli.sandbox import sandbox
from taxizer_async._cli.store_config import StoreConfig, StoreKind, closing
from taxizer_async._cli.streams import guard_streams, problem_of, start_log
from taxizer_async._core.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    TaxizerError,
)
from taxizer_async._core.events import Event, StoreFailed
from taxizer_async._core.log_lines import sentence
from taxizer_async._core.models import Credentials, Token
from taxizer_async._version import __version__


# typer ships its own click, or uses the installed one; this is the base class of the errors of either.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[2]

app: Final = typer.Typer(
    name=PROGRAM,
    cls=GroupHelp,
    rich_markup_mode=None,
    help="Log in to Taxizer, see who you are, or try it all without an account.",
    add_completion=False,
    # They would show the locals of every frame, secrets included.
    pretty_exceptions_enable=False,
)
app.add_typer(store_commands.app, name="store")


def run() -> int:
    """Run the program with the arguments of this process, and return its exit code."""
    if sys.stdout is None:
        print_error("stdout is closed")
        return ExitCode.UNWRITABLE
    guard_streams()
    stdout, code = sys.stdout, 0
    try:
        code = _run_command()
        stdout.flush()
    except BaseException:
        # An `UnwritableError` may be in a group of them by now.
        if problem_of(stdout) is None:
            raise
    problem = problem_of(stdout)
    if problem is None:
        return code
    # A reader that has closed its pipe wants no more.
    if not isinstance(problem, BrokenPipeError):
        print_error(f"stdout can't be written: {problem.strerror}")
    return ExitCode.UNWRITABLE


def _run_command() -> int:
    try:
        start_log()
        prepare_completion()
        result: object = app(prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except TaxizerError as error:
        code, message = _exit_code(error), str(error)
    except _UsageError as error:
        code, message = ExitCode.USAGE, cast("typer.BadParameter", error).format_message()
    else:
        return result if isinstance(result, int) else ExitCode.OK
    print_error(message)
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
    require_command(context)


@app.command(cls=CommandHelp)
@with_store(StoreKind.MEMORY)
def token(base_url: str, store: StoreConfig) -> None:
    """
    Print a token, and nothing else.

    For shells: curl -H "Authorization: Bearer $(taxizer-async token)". The credentials come from the
    environment: TAXIZER_CLIENT_ID and TAXIZER_CLIENT_SECRET. With --store file or redis, a kept token is
    reused until it expires.
    """
    # The only place that prints a secret on purpose.
    typer.echo(_get_token(base_url, store)[0].jwt.reveal())


@app.command(cls=CommandHelp)
@with_store(StoreKind.MEMORY)
def whoami(base_url: str, store: StoreConfig, *, json: Json = False) -> None:
    """Log in with the credentials from the environment, and show the account and the app."""
    token, expires_in = _get_token(base_url, store)
    show_rows([*owner_rows(token), *expiry_rows(token, expires_in)], as_json=json)


for _command in (doctor, demo, sandbox, completion):
    app.command(cls=CommandHelp)(_command)


def _get_token(base_url: str, config: StoreConfig) -> tuple[Token, float | None]:
    """Return a token, and the seconds until it expires."""
    store = config.create()
    auth = TaxizerAuth(
        Credentials.from_env(), base_url=base_url, store=store, on_event=_warn_of_store
    )

    async def get() -> tuple[Token, float | None]:
        async with closing(store):
            return await auth.token(), auth.status().expires_in

    return anyio.run(get)


def _warn_of_store(event: Event) -> None:
    if isinstance(event, StoreFailed):
        print_warning(sentence(event))


def _exit_code(error: TaxizerError) -> ExitCode:
    if isinstance(error, CredentialsRejectedError):
        return ExitCode.FAILED
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    return ExitCode.UNAVAILABLE
