"""
Mutates the package by a tool, and looks whether a test notices each mutant.

`python -m tests.campaigns.mutation.run [--piece I/N] [--again] [--jobs N] [--budget SECONDS] [--state FOLDER]`; exits
with 1 if a mutant survives that `survivors.diff` does not explain. What was found is kept in the folder, so that a run
that is stopped goes on where it was, and pieces add up. A mutant is known by its statement, and a line by the tests
that have run it: after larger changes of the package or the tests, delete the folder to try all of them anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.campaigns.mutation.bench import OPTIONS, SURVIVED, UNTESTED, Bench, Result
from tests.campaigns.mutation.mutants import ROOT, Mutant, all_mutants
from tests.campaigns.mutation.survey import Survey
from tests.campaigns.mutation.survivors import explanations


if TYPE_CHECKING:
    from collections.abc import Iterable


#: Those that may notice; tests of processes and of real time are too slow.
TESTS: Final = ("tests/unit", "tests/behaviour", "tests/stores", "tests/campaigns/model")
_LEFT: Final = (SURVIVED, UNTESTED)


class State:
    """The folder with what was found so far."""

    def __init__(self, folder: Path) -> None:
        self.survey = folder / "survey"
        self.survey.mkdir(parents=True, exist_ok=True)
        self._results = folder / "results.jsonl"

    def results(self) -> dict[str, Result]:
        """Return the last result of each mutant, by its key."""
        if not self._results.exists():
            return {}
        lines = self._results.read_text().splitlines()
        return {result.key: result for line in lines for result in [Result(**json.loads(line))]}

    def add(self, mutant: Mutant, result: Result) -> None:
        """Keep and print a result."""
        with self._results.open("a") as file:
            file.write(f"{json.dumps(attrs.asdict(result))}\n")
        where = f"{mutant.file}:{mutant.first} {mutant.operator}"
        _say(f"{where}: {result.outcome} by {result.by} ({result.seconds} s)")


def survey(state: State, jobs: int) -> None:
    """Run the tests that are not in the survey yet."""
    environment = os.environ | {"SURVEY": str(state.survey)}
    command = [sys.executable, "-m", "pytest", *OPTIONS, "-n", str(jobs), "--dist", "loadgroup"]
    plugin = ["-p", "tests.campaigns.mutation.survey"]
    subprocess.run([*command, *plugin, *TESTS], cwd=ROOT, env=environment, check=False)


def report(mutants: Iterable[Mutant], results: dict[str, Result]) -> bool:
    """Print what became of the *mutants*; return whether each that was tried is killed or explained."""
    tried = [(mutant, results[mutant.key]) for mutant in mutants if mutant.key in results]
    reasons = explanations()
    count: Counter[str] = Counter()
    unexplained = 0
    for mutant, result in tried:
        count[result.outcome] += 1
        if result.outcome in _LEFT:
            if reasons.get(mutant.diff()):
                count["explained"] += 1
            else:
                unexplained += 1
                _say(
                    f"\n{mutant.diff()}\n# {result.outcome} at line {mutant.first}: {mutant.operator}"
                )
    left = sum(count[outcome] for outcome in _LEFT)
    share = 100 * (len(tried) - left) / max(1, len(tried))
    _say(f"\n{len(tried)} mutants tried, {share:.1f} % killed: {dict(count)}")
    return not unexplained


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _piece(text: str) -> slice:
    number, _, of = text.partition("/")
    return slice(int(number) - 1, None, int(of))


def main() -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--piece", metavar="I/N", type=_piece, default=slice(None))
    parser.add_argument(
        "--again", action="store_true", help="try those that survived once more, with new tests"
    )
    parser.add_argument("--only", metavar="FILE", default="", help="mutants of one file or folder")
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--budget", metavar="SECONDS", type=float, default=30.0)
    parser.add_argument("--state", metavar="FOLDER", type=Path, default=ROOT / ".nox/mutation")
    parser.add_argument("--report", action="store_true", help="only print what was found")
    arguments = parser.parse_args()
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    state = State(arguments.state.resolve())
    every = [each for each in all_mutants() if each.file.startswith(arguments.only)]
    chosen = every[arguments.piece]
    known = state.results()
    todo = [
        mutant
        for mutant in chosen
        if mutant.key not in known or (arguments.again and known[mutant.key].outcome in _LEFT)
    ]
    if todo and not arguments.report:
        if arguments.again or not any(state.survey.iterdir()):
            survey(state, arguments.jobs)
        bench = Bench(
            todo,
            Survey.read(state.survey),
            state.add,
            jobs=arguments.jobs,
            budget=arguments.budget,
        )
        pytest.main([*OPTIONS, *TESTS], plugins=[bench])
    return 0 if report(chosen, state.results()) else 1


if __name__ == "__main__":
    sys.exit(main())
