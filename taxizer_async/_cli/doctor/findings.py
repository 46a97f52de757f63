"""What a check of `doctor` finds: a value without a secret, so that it can be pasted into a ticket."""

from __future__ import annotations

import enum

from collections.abc import Iterable
from typing import Final

import attrs

from taxizer_async._cli.exit_codes import ExitCode
from taxizer_async._core.errors import TaxizerError


class State(enum.StrEnum):
    """What is the matter with the thing that a check looks at."""

    OK = "ok"
    #: It works, but should be looked at.
    WARNING = "warning"
    #: It was not looked at.
    SKIPPED = "skipped"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    UNAVAILABLE = "unavailable"


_EXIT_CODES: Final = {
    State.REFUSED: ExitCode.FAILED,
    State.MISCONFIGURED: ExitCode.USAGE,
    State.UNAVAILABLE: ExitCode.UNAVAILABLE,
}


@attrs.frozen
class Finding:
    """
    The result of a check.

    Attributes:
        state: What is the matter.
        text: What was found.
        advice: What to do, if anything.
        name: The name of the check, which the runner fills in.
    """

    state: State
    text: str
    advice: str = ""
    name: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether the checks that need this one can be made."""
        return self.state in (State.OK, State.WARNING)

    @property
    def exit_code(self) -> ExitCode:
        return _EXIT_CODES.get(self.state, ExitCode.OK)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return the exit code of the first failure: those that follow may come from it."""
    return next(filter(None, (each.exit_code for each in findings)), ExitCode.OK)


def finding_of(error: TaxizerError, state: State) -> Finding:
    """Return what *error* says; its messages put the advice behind a colon."""
    text, _, advice = str(error).partition(": ")
    return Finding(state, text, advice)
