"""
Breaks the package in each way that `breakages` knows, and looks whether a test notices.

The tests that a breakage names come first, as they notice it soonest, then those that are marked with its
invariant. `python tests/campaigns/mutants/run.py [--only NAME] [--jobs N]`; exits with 1 unless all breakages
are noticed, and one at least of each invariant by its own tests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING


ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))  # it is a script, and its folder is not where `tests` is

from tests.campaigns.mutants.breakages import BREAKAGES, INVARIANTS  # noqa: E402
from tests.campaigns.mutants.store_breakages import STORE_BREAKAGES  # noqa: E402
from tests.support.marks import marked_tests  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.campaigns.mutants.breakages import Breakage


PACKAGE = "taxizer_async"
PYTEST = [
    *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-n", "0"),
    *("-x", "-q", "--timeout", "20", "--tb", "no"),
]
#: Seconds for all tests of one breakage; for all of all, so many times that.
LIMIT = 120.0
ALL_LIMITS = 10
#: Without the slow ones, as they are run for each breakage.
MARKED = marked_tests("invariant", slow=False)
#: What pytest exits with if a test failed; other codes say that it could not be asked.
FAILED = 1
#: A summary's line is cut at that.
SUMMARY_WIDTH = "240"
#: What a breakage itself may be at fault with: it proves nothing.
SLIPS = ("NameError", "UnboundLocalError", "SyntaxError", "ImportError")
#: Ends pytest with another code than that if it is not the copy that is imported.
GUARD = """
import pathlib
import pytest
import {package}

def pytest_configure():
    imported = pathlib.Path({package}.__file__).resolve()
    if not imported.is_relative_to(pathlib.Path({folder!r}).resolve()):
        pytest.exit(f"the copy is not imported, but {{imported}}", returncode=99)
"""


class Broken(Exception):  # noqa: N818 - it is about a breakage
    """A breakage can't be tried."""


class Bench:
    """A temporary folder with the tests, one copy of the package as it is, and one per breakage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checkout = folder / "checkout"
        self._checkout.mkdir()
        shutil.copytree(ROOT / "tests", self._checkout / "tests")
        shutil.copy2(ROOT / "pyproject.toml", self._checkout)
        # Copied once, so that all are broken out of the same, whoever edits meanwhile.
        self.unbroken = self._copy(ROOT, "unbroken")

    def broken(self, breakage: Breakage) -> Path:
        """Return the folder of a package that is broken in this way."""
        source = self.unbroken / PACKAGE / breakage.file
        text = source.read_text("utf-8")
        found = text.count(breakage.old)
        if found != 1:
            raise Broken(f"its text occurs {found} times in {breakage.file}")
        if breakage.old == breakage.new:
            raise Broken("it changes nothing")
        folder = self._copy(self.unbroken, f"broken-{breakage.name}")
        target = folder / PACKAGE / breakage.file
        for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            compiled.unlink()
        target.write_text(text.replace(breakage.old, breakage.new), "utf-8")
        return folder

    def run(self, folder: Path, tests: Iterable[str], seconds: float) -> tuple[int, str]:
        """Run *tests* against the package in *folder*; return pytest's exit code and output."""
        process = subprocess.Popen(
            [*PYTEST, "-p", "guard", *tests],
            cwd=self._checkout,
            env=os.environ
            | {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "COLUMNS": SUMMARY_WIDTH},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end_session(process)
            raise Broken(f"the tests did not end within {seconds:g} s") from None
        return process.returncode, output

    def _copy(self, source: Path, name: str) -> Path:
        folder = self._folder / name
        shutil.copytree(source / PACKAGE, folder / PACKAGE)
        guard = GUARD.format(package=PACKAGE, folder=str(folder))
        (folder / "guard.py").write_text(guard, "utf-8")
        return folder


def _end_session(process: subprocess.Popen[str]) -> None:
    """End *process* and all that it has forked."""
    # Not waited for yet, so its number is not another's.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def tests_of(breakage: Breakage) -> tuple[str, ...]:
    """Return what has to notice the *breakage*: the tests that it names first."""
    return (*breakage.tests, *MARKED.get(breakage.invariant, ()))


def attempt(breakage: Breakage, bench: Bench) -> tuple[str | None, str]:
    """Return the test that notices the *breakage*, if one does, and what there is to say of it."""
    began = time.monotonic()
    try:
        folder = bench.broken(breakage)
        code, output = bench.run(folder, tests_of(breakage), LIMIT)
        shutil.rmtree(folder)
    except Broken as problem:
        return None, f"BROKEN: {problem}"
    took = f"{time.monotonic() - began:.1f} s"
    noticed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", output, re.MULTILINE)
    if code == 0:
        return None, f"SURVIVED ({took})"
    if code != FAILED or noticed is None:
        return None, f"BROKEN: pytest exited with {code}\n{output}"
    reason = noticed[2] or "no reason given"
    if reason.startswith(SLIPS):
        return None, f"BROKEN: {reason}"
    return noticed[1], f"caught by {noticed[1]} ({took}): {reason}"


def run(breakages: list[Breakage], jobs: int) -> Score | None:
    """Try all *breakages*, *jobs* at a time; None if tests fail with nothing broken."""
    with tempfile.TemporaryDirectory(prefix="taxizer-mutants-") as folder:
        bench = Bench(Path(folder).resolve())
        tests = sorted({test for breakage in breakages for test in tests_of(breakage)})
        # Dealt out like cards, so that the slow ones of a file are not in one hand.
        hands = [hand for start in range(jobs) if (hand := tests[start::jobs])]
        with ThreadPoolExecutor(jobs) as pool:
            run_hand = partial(bench.run, bench.unbroken, seconds=ALL_LIMITS * LIMIT)
            for code, output in pool.map(run_hand, hands):
                if code != 0:
                    _say(f"the tests fail with nothing broken (exit code {code}):\n{output}")
                    return None
            _say(f"with nothing broken, the {len(tests)} tests pass")
            score = Score()
            results = pool.map(partial(attempt, bench=bench), breakages)
            for breakage, (test, what) in zip(breakages, results, strict=True):
                score.note(breakage, test)
                _say(f"{breakage.invariant:2} {breakage.name}: {what}")
    for line in score.lines():
        _say(line)
    return score


class Score:
    """Counts, by invariant, what was tried and what was caught."""

    def __init__(self) -> None:
        self._tried: Counter[int] = Counter()
        self._caught: Counter[int] = Counter()
        self._caught_by_own: Counter[int] = Counter()

    def note(self, breakage: Breakage, test: str | None) -> None:
        """Count a *breakage* that *test* has caught, or none has."""
        number = breakage.invariant
        self._tried[number] += 1
        self._caught[number] += test is not None
        self._caught_by_own[number] += (test or "").partition("[")[0] in MARKED.get(number, ())

    @property
    def all_caught(self) -> bool:
        """Whether a test has noticed each breakage."""
        return self._tried == self._caught

    @property
    def each_by_its_own(self) -> bool:
        """Whether the tests that are marked with an invariant have noticed one of its breakages."""
        return all(self._caught_by_own[number] for number in INVARIANTS)

    def lines(self) -> Iterator[str]:
        """Say it."""
        for number, tried in sorted(self._tried.items()):
            yield (
                f"invariant {number:2}: {self._caught[number]} of {tried} caught, "
                f"{self._caught_by_own[number]} by its own tests"
            )
        yield (
            f"{self._tried.total()} breakages, {self._caught.total()} caught, "
            f"{self._caught_by_own.total()} by the tests that are marked with their invariant"
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Read the command line, and run."""
    every = (*BREAKAGES, *STORE_BREAKAGES)
    names = [breakage.name for breakage in every]
    assert len(set(names)) == len(names)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", choices=names)
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    chosen = [each for each in every if each.name in (arguments.only or names)]
    score = run(chosen, max(1, arguments.jobs))
    if score is None or not score.all_caught:
        return 1
    return 0 if arguments.only or score.each_by_its_own else 1


if __name__ == "__main__":
    sys.exit(main())
