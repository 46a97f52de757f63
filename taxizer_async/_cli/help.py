"""
How the help looks: plain text that fits terminals of any width, and that a screen reader can read.

typer's own tables cut names off where there is little room.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap

from collections.abc import Iterable
from typing import Any, Final

import typer

from typer.core import TyperCommand, TyperGroup


#: Characters; longer lines are hard to read.
_WIDEST: Final = 100
#: With less room, what is explained has a line to itself.
_TWO_COLUMNS: Final = 72
#: The same where the name of an option is longer than this.
_NAME_WIDTH: Final = 28


class CommandHelp(TyperCommand):
    """A command with such a help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_render(self, ctx))


class GroupHelp(TyperGroup):
    """A group of commands with such a help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command)) for name, command in commands]
        formatter.write("\n\n".join([_render(self, ctx), *_section("Commands", rows)]))


def _render(command: Any, context: Any) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return "\n\n".join(
        [
            _fill(f"Usage: {usage}", hanging="  "),
            *(_fill(paragraph) for paragraph in paragraphs if paragraph),
            *_section("Options", filter(None, records)),
        ]
    )


def _section(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    # Older typers escape brackets for rich.
    entries = (_entry(name, text.replace("\\[", "[")) for name, text in rows)
    lines = [typer.style(f"{title}:", bold=True), *entries]
    return ["\n".join(lines)]


def _entry(name: str, text: str) -> str:
    if _width() < _TWO_COLUMNS:
        return f"{_fill(f'  {name}', hanging='    ')}\n{_fill(text, indent='      ')}"
    indent = " " * (_NAME_WIDTH + 2)
    if len(name) + 4 > len(indent):
        return f"  {name}\n{_fill(text, indent=indent)}"
    return _fill(f"{f'  {name}':{len(indent)}}{text}", hanging=indent)


def _fill(text: str, *, indent: str = "", hanging: str | None = None) -> str:
    return textwrap.fill(
        text if hanging else " ".join(text.split()),
        _width(),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width() -> int:
    return min(_WIDEST, shutil.get_terminal_size().columns)


def _first_sentence(command: Any) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0]
