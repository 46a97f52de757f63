"""
A pytest plugin that notes which lines of the package each test runs, in whatever thread, and how long it takes.

`run.py` loads it with `-p`. Each process writes what it saw to a file in the folder that `SURVEY` names; tests that
are in one already are left out.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import time

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType


#: What runs when a module is imported is noted under this name.
IMPORT: Final = ""
#: mypy looks at Python 3.11, which has none.
_MONITORING: Final[Any] = vars(sys)["monitoring"]
_PACKAGE: Final = f"{Path(__file__).resolve().parents[3] / 'taxizer_async'}{os.sep}"


@attrs.frozen
class Survey:
    """
    What all processes saw.

    Attributes:
        seconds: How long each test takes that passes.
        tests: Which tests run a line of a module. Lines go by their text, so that an edit elsewhere moves none.
    """

    seconds: dict[str, float]
    tests: dict[str, dict[str, set[str]]]

    @classmethod
    def read(cls, folder: Path) -> Survey:
        """Read the files in *folder*."""
        survey = cls({}, {})
        for path in sorted(folder.glob("*.json")):
            for test, (seconds, lines_of) in json.loads(path.read_text()).items():
                survey.seconds[test] = seconds
                for file, lines in lines_of.items():
                    tests = survey.tests.setdefault(file, {})
                    for line in lines:
                        tests.setdefault(line, set()).add(test)
        return survey

    def tests_of(self, file: str, line: str) -> set[str]:
        """Return the tests that run *line* of *file*; `IMPORT` is among them if an import does."""
        return self.tests.get(file, {}).get(line, set())

    def tests_of_file(self, file: str) -> set[str]:
        """Return the tests that run any line of *file*."""
        return set().union(*self.tests.get(file, {}).values()) - {IMPORT}


class _Onlooker:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = Survey.read(folder).seconds
        self._seen: dict[str, tuple[float, dict[str, list[str]]]] = {}
        self._lines: set[tuple[str, int]] = set()
        self._failed: set[str] = set()
        events = _MONITORING.events
        _MONITORING.use_tool_id(_MONITORING.COVERAGE_ID, "survey")
        _MONITORING.register_callback(_MONITORING.COVERAGE_ID, events.LINE, self._line)
        _MONITORING.set_events(_MONITORING.COVERAGE_ID, events.LINE)

    def _line(self, code: CodeType, number: int) -> Any:
        if code.co_filename.startswith(_PACKAGE):
            self._lines.add((code.co_filename.removeprefix(_PACKAGE), number))
        return _MONITORING.DISABLE

    def _note(self, test: str, seconds: float) -> None:
        lines: dict[str, list[str]] = {}
        for file, number in sorted(self._lines):
            text = linecache.getline(_PACKAGE + file, number).rstrip("\n")
            lines.setdefault(file, []).append(text)
        self._seen[test] = (seconds, lines)
        self._lines = set()
        _MONITORING.restart_events()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid not in self._known]

    def pytest_collection_finish(self) -> None:
        self._note(IMPORT, 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began = time.perf_counter()
        result = yield
        self._note(item.nodeid, time.perf_counter() - began)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        _MONITORING.set_events(_MONITORING.COVERAGE_ID, 0)
        _MONITORING.free_tool_id(_MONITORING.COVERAGE_ID)
        passed = {test: what for test, what in self._seen.items() if test not in self._failed}
        name = f"{time.time():.0f}-{os.getpid()}.json"
        (self._folder / name).write_text(json.dumps(passed))


def pytest_configure(config: pytest.Config) -> None:
    """Begin before the package is imported."""
    if (
        not hasattr(config.option, "dist")
        or config.option.dist == "no"
        or hasattr(config, "workerinput")
    ):
        config.pluginmanager.register(_Onlooker(Path(os.environ["SURVEY"])))
