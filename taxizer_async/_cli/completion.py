"""The command `completion`, and the answers to a shell that completes a line."""

from __future__ import annotations

import enum
import os

from typing import Annotated, Final

import typer


# typer offers the script of the current shell alone by public means.
from typer._completion_classes import (  # pyright: ignore[reportPrivateUsage]
    completion_init,
)
from typer._completion_shared import (  # pyright: ignore[reportPrivateUsage]
    get_completion_script,
)


PROGRAM: Final = "taxizer-async"

#: By this name a shell's script asks the program for completions.
_VARIABLE: Final = "_TAXIZER_ASYNC_COMPLETE"


class Shell(enum.StrEnum):
    """The shells that can complete a line."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """
    Print the script that has a shell complete commands and options.

    For bash: eval "$(taxizer-async completion bash)" in ~/.bashrc. For zsh: the same with zsh in ~/.zshrc,
    after compinit. For fish: taxizer-async completion fish | source in config.fish.
    """
    script = get_completion_script(prog_name=PROGRAM, complete_var=_VARIABLE, shell=shell.value)
    typer.echo(script)


def prepare_completion() -> None:
    """Have typer answer if a shell asks for completions."""
    if _VARIABLE in os.environ:
        completion_init()
