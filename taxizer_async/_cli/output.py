"""
What the command line prints: rows of a name and a value, JSON, single lines on stderr, and help.

Control characters in what a server sent never reach the terminal.
"""

from __future__ import annotations

import json
import sys

from collections.abc import Iterable
from typing import TypeAlias

import typer

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taxizer_async._cli.exit_codes import ExitCode
from taxizer_async._core.models import Token


#: A name and a value; a number is a duration in seconds, and None is unknown.
Row: TypeAlias = "tuple[str, str | float | None]"


def show_rows(rows: Iterable[Row], *, as_json: bool = False) -> None:
    """Print *rows* to stdout: a table on a terminal, `name: value` lines elsewhere, or a JSON object."""
    if as_json:
        print_json(dict(rows))
        return
    shown = [(name, printable(_text_of(value))) for name, value in rows]
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


def print_json(content: object) -> None:
    """Print *content* as JSON, in ASCII: it escapes control characters, too."""
    typer.echo(json.dumps(content, indent=2))


def owner_rows(token: Token) -> list[Row]:
    names = ("app_name", "app_id", "account_name", "account_id", "username")
    return [(name, getattr(token, name)) for name in names]


def expiry_rows(token: Token, expires_in: float | None) -> list[Row]:
    """Return the rows about the expiry of *token*, *expires_in* seconds from now."""
    expires_at = token.expires_at
    return [
        ("expires_at", None if expires_at is None else f"{expires_at:%Y-%m-%dT%H:%M:%SZ}"),
        ("expires_in", expires_in),
    ]


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


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _print_line(kind: str, message: str) -> None:
    typer.echo(f"{kind}: {printable(' '.join(message.split()))}", err=True)


def _text_of(value: str | float | None) -> str:
    return f"{value:.0f} s" if isinstance(value, (int, float)) else value or "unknown"
