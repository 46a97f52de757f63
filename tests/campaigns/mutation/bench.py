"""
A pytest plugin that collects the tests once, and forks a process per mutant that runs those that may notice it.

Most mutants are put into the functions that are there. One that changes what runs when a module is imported is
tried by a pytest of its own, which imports a copy of the package.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import pytest

from tests.campaigns.mutation.mutants import PACKAGE, ROOT, Mutant, original
from tests.campaigns.mutation.patch import LiveFunctions
from tests.campaigns.mutation.survey import IMPORT, Survey


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


OPTIONS: Final = (
    *("-q", "-p", "no:randomly", "-o", "timeout=0", "--capture=sys", "--tb=no"),
    *("-m", "not slow"),
)
#: A test that takes so many times its time, and so many seconds more, hangs.
PATIENCE: Final = (10, 20)
SURVIVED, KILLED, TIMED_OUT, UNTESTED, BROKEN = (
    "survived",
    "killed",
    "timeout",
    "untested",
    "broken",
)
#: Names the mutant in the environment of all that is started for it.
_MARK: Final = "TRIED_MUTANT"


@attrs.frozen
class Result:
    """What became of a mutant, by which test, in how many seconds."""

    key: str
    outcome: str
    by: str
    seconds: float


@attrs.frozen
class _Trial:
    mutant: Mutant
    folder: Path
    began: float

    @property
    def report(self) -> Path:
        return self.folder / "noticed-by"


@attrs.frozen
class _Witness:
    """Notes which test notices."""

    _trial: _Trial

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._trial.report.write_text(report.nodeid)


@final
class Bench:
    """
    Runs the trials.

    Args:
        mutants: What to try.
        survey: Which tests run which line.
        report: Hears of each result.
        jobs: How many processes at a time.
        budget: Seconds of tests, as the survey counted them, after which a mutant has survived.
    """

    def __init__(
        self,
        mutants: Iterable[Mutant],
        survey: Survey,
        report: Callable[[Mutant, Result], None],
        *,
        jobs: int,
        budget: float,
    ) -> None:
        self._mutants = mutants
        self._survey = survey
        self._report = report
        self._jobs = jobs
        self._budget = budget
        self._running: dict[int, _Trial] = {}
        self._items: dict[str, pytest.Item] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try the mutants in place of running the tests."""
        self._items = {item.nodeid: item for item in session.items}
        functions = LiveFunctions()
        gc.freeze()
        for mutant in self._mutants:
            if len(self._running) >= self._jobs:
                self._reap()
            tests = self._tests_of(mutant)
            if tests:
                self._start(mutant, tests, functions)
            else:
                self._report(mutant, Result(mutant.key, UNTESTED, "", 0.0))
        while self._running:
            self._reap()
        return True

    def _tests_of(self, mutant: Mutant) -> list[str]:
        """Return those that run what is changed: the quick and narrow first, and of many cases one by one."""
        lines = original(mutant.file).splitlines()[mutant.first - 1 : mutant.last]
        tests = set().union(*(self._survey.tests_of(mutant.file, line) for line in lines))
        if not tests - {IMPORT}:
            # It runs at import: those count that run a line with the same name, or any of the module.
            (name, *_) = re.findall(r"\w+", lines[0])
            tests = self._survey.tests_of_name(name) | self._survey.tests_of_file(mutant.file)
        seconds, breadth = self._survey.seconds, self._survey.breadth
        cases: Counter[str] = Counter()
        weights = {}
        known = tests & self._items.keys() & seconds.keys()
        for test in sorted(known, key=lambda test: seconds[test] * breadth[test]):
            name = test.partition("[")[0]
            cases[name] += 1
            weights[test] = seconds[test] * breadth[test] * cases[name]
        chosen, spent = [], 0.0
        for test in sorted(weights, key=weights.__getitem__):
            chosen.append(test)
            spent += seconds[test]
            if spent > self._budget:
                break
        return chosen

    def _start(self, mutant: Mutant, tests: list[str], functions: LiveFunctions) -> None:
        trial = _Trial(mutant, Path(tempfile.mkdtemp(prefix="mutant-")), time.monotonic())
        sys.stdout.flush()
        child = os.fork()
        if child:
            self._running[child] = trial
            return
        code = int(pytest.ExitCode.INTERNAL_ERROR)
        with contextlib.suppress(BaseException):
            code = self._try(trial, tests, functions)
        os._exit(code)

    def _try(self, trial: _Trial, tests: list[str], functions: LiveFunctions) -> int:
        os.setsid()
        log = os.open(trial.folder / "log", os.O_RDWR | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        temporary = str(trial.folder)
        os.environ |= {"TMPDIR": temporary, "PYTEST_DEBUG_TEMPROOT": temporary, _MARK: temporary}
        tempfile.tempdir = None
        runs_at_import = any(
            IMPORT in self._survey.tests_of(trial.mutant.file, line)
            for line in original(trial.mutant.file).splitlines()[
                trial.mutant.first - 1 : trial.mutant.last
            ]
        )
        if runs_at_import or not functions.change(trial.mutant):
            return self._run_anew(trial, tests)
        items = [self._items[test] for test in tests]
        for item, following in pairwise([*items, None]):
            assert item is not None
            signal.alarm(self._limit([item.nodeid]))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                trial.report.write_text(item.nodeid)
                item.session._setupstate.teardown_exact(None)
                return pytest.ExitCode.TESTS_FAILED
        return pytest.ExitCode.OK

    def _run_anew(self, trial: _Trial, tests: list[str]) -> int:
        copy = trial.folder / PACKAGE.name
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / trial.mutant.file).write_text(trial.mutant.source(), "utf-8")
        arguments = trial.folder / "tests"
        arguments.write_text("\n".join(tests))
        os.environ |= {"PYTHONPATH": f"{trial.folder}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1"}
        signal.alarm(self._limit(tests))
        sys.path.insert(0, str(trial.folder))
        for name in list(sys.modules):
            if name.partition(".")[0] in {PACKAGE.name, "pytest_taxizer_async", "tests"}:
                del sys.modules[name]
        return int(pytest.main([*OPTIONS, "-x", f"@{arguments}"], plugins=[_Witness(trial)]))

    def _limit(self, tests: list[str]) -> int:
        times, more = PATIENCE
        return math.ceil(sum(map(self._survey.seconds.__getitem__, tests)) * times + more)

    def _reap(self) -> None:
        """Wait for a trial to end, and report it."""
        child, status = os.wait()
        trial = self._running.pop(child)
        _end_all_of(child, trial)
        code = os.waitstatus_to_exitcode(status)
        outcome = KILLED
        if code == pytest.ExitCode.OK:
            outcome = SURVIVED
        elif code == -signal.SIGALRM:
            outcome = TIMED_OUT
        by = trial.report.read_text() if trial.report.exists() else f"exit code {code}"
        seconds = round(time.monotonic() - trial.began, 1)
        shutil.rmtree(trial.folder, ignore_errors=True)
        self._report(trial.mutant, Result(trial.mutant.key, outcome, by, seconds))


def _end_all_of(child: int, trial: _Trial) -> None:
    """End what the tests have started, and a failure or a hang has left: servers, for example."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    mark = f"{_MARK}={trial.folder}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
