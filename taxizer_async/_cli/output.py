"""
What the command line prints: rows of a name and a value, single lines on stderr, and help.

Control characters in what a server sent never reach the terminal.
"""

from __future__ import annotations

import sys

from typing import TYPE_CHECKING

import typer

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taxizer_async._cli.exit_codes import ExitCode


if TYPE_CHECKING:
    from collections.abc import Iterable

    from taxizer_async._core.models import Token


def show_rows(rows: Iterable[tuple[str, str | None]]) -> None:
    """Print *rows* to stdout: a table on a terminal, `name: value` lines elsewhere; None shows as unknown."""
    shown = [(name, _printable(value or "unknown")) for name, value in rows]
    if not sys.stdout.isatty():
        for name, value in shown:
            typer.echo(f"{name}: {value}")
        return
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in shown:
        table.add_row(name, Text(value))
    Console().print(table)


def owner_rows(token: Token) -> list[tuple[str, str | None]]:
    """Return the rows about the app, the account and the user of *token*."""
    names = ("app_name", "app_id", "account_name", "account_id", "username")
    return [(name, getattr(token, name)) for name in names]


def expiry_rows(token: Token, expires_in: float | None) -> list[tuple[str, str | None]]:
    """Return the rows about the expiry of *token*, *expires_in* seconds from now."""
    expires_at = token.expires_at
    return [
        ("expires_at", None if expires_at is None else f"{expires_at:%Y-%m-%dT%H:%M:%SZ}"),
        ("expires_in", seconds(expires_in)),
    ]


def seconds(duration: float | None) -> str | None:
    """Return *duration* as text."""
    return None if duration is None else f"{duration:.0f} s"


def require_command(context: typer.Context) -> None:
    """Print the help, and exit as for wrong usage, unless the arguments name a command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


def print_error(message: str) -> None:
    """Print *message* as an error, on one line of stderr."""
    _print_line("error", message)


def print_warning(message: str) -> None:
    """Print *message* as a warning, on one line of stderr."""
    _print_line("warning", message)


def _print_line(kind: str, message: str) -> None:
    typer.echo(f"{kind}: {_printable(' '.join(message.split()))}", err=True)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
