"""How findings are shown: as they come, on a terminal or as plain lines; or as JSON at the end."""

from __future__ import annotations

import contextlib
import functools
import sys

from collections.abc import Callable, Generator, Iterable
from typing import Final

import typer

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from taxizer_async._cli.doctor.findings import Finding, State, exit_code
from taxizer_async._cli.output import print_json, printable


_NAME_WIDTH: Final = 11
_STATE_WIDTH: Final = 13
#: With less room, what was found has lines to itself.
_TWO_COLUMNS: Final = 72
_INDENT: Final = (0, 0, 0, 2)

_STYLES: Final = {
    State.OK: "green",
    State.WARNING: "yellow",
    State.SKIPPED: "dim",
    State.REFUSED: "bold red",
    State.MISCONFIGURED: "bold red",
    State.UNAVAILABLE: "bold red",
}


@contextlib.contextmanager
def display() -> Generator[tuple[Callable[[str], object], Callable[[Finding], object]]]:
    """Yield what is called with the name of each check as it begins, and with what it finds."""
    if not sys.stdout.isatty():
        yield (lambda _: None), _print_line
        return
    console = Console()
    # In ASCII, as not all terminals can show the others.
    with console.status("", spinner="line") as status:
        # A signal that ends the process would leave it hidden.
        console.show_cursor()
        yield status.update, functools.partial(_show, console)


def _print_line(finding: Finding) -> None:
    """Print a line, for files and other programs."""
    words = f"{finding.text}: {finding.advice}" if finding.advice else finding.text
    line = f"{finding.name:{_NAME_WIDTH}}  {finding.state:{_STATE_WIDTH}}  {words}"
    typer.echo(printable(line))


def _show(console: Console, finding: Finding) -> None:
    """Show it to people: with colours, above the spinner; the advice has a line of its own."""
    if console.width < _TWO_COLUMNS:
        _show_narrow(console, finding)
        return
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=_NAME_WIDTH, style="bold")
    row.add_column(width=_STATE_WIDTH, style=_STYLES[finding.state])
    row.add_column(overflow="fold")
    row.add_row(finding.name, finding.state, Text(printable(finding.text)))
    if finding.advice:
        row.add_row("", "", Text(printable(f"-> {finding.advice}"), style="italic"))
    console.print(row)


def _show_narrow(console: Console, finding: Finding) -> None:
    texts = [printable(finding.text)]
    if finding.advice:
        texts.append(printable(f"-> {finding.advice}"))
    head = Text.assemble((finding.name, "bold"), " ", (finding.state, _STYLES[finding.state]))
    console.print(Group(head, *(Padding(Text(text), _INDENT) for text in texts)))


def show_json(findings: Iterable[Finding]) -> None:
    """Print all findings, and the exit code that they come to."""
    found = list(findings)
    fields = ("name", "state", "text", "advice")
    checks = [{field: getattr(each, field) for field in fields} for each in found]
    print_json({"exit_code": exit_code(found), "checks": checks})
