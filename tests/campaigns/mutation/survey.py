"""
A pytest plugin that notes which lines of the package each test runs, in whatever thread, and how long it takes.

`run.py` loads it with `-p`. Each process writes what it saw to a file in the folder that `SURVEY` names; tests that
are in one already are left out.
"""

from __future__ import annotations

import json
import linecache
import os
import re
import sys
import time

from collections import Counter
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
        breadth: How many lines each test runs.
    """

    seconds: dict[str, float]
    tests: dict[str, dict[str, set[str]]]
    breadth: Counter[str]

    @classmethod
    def read(cls, folder: Path) -> Survey:
        """Read the files in *folder*."""
        survey = cls({}, {}, Counter())
        for path in sorted(folder.glob("*.json")):
            found = json.loads(path.read_text())
            names = list(found["seconds"])
            survey.seconds.update(found["seconds"])
            for test in found["failed"]:
                survey.seconds.pop(test, None)
            for file, lines in found["lines"].items():
                tests = survey.tests.setdefault(file, {})
                for line, numbers in lines.items():
                    runs = [names[number] for number in numbers]
                    tests.setdefault(line, set()).update(runs)
                    survey.breadth.update(runs)
        return survey

    def tests_of(self, file: str, line: str) -> set[str]:
        """Return the tests that run *line* of *file*; `IMPORT` is among them if an import does."""
        return self.tests.get(file, {}).get(line, set())

    def tests_of_name(self, name: str) -> set[str]:
        """Return the tests that run a line, in any module, with that *name*."""
        lines = ((line, tests) for of in self.tests.values() for line, tests in of.items())
        found = (tests for line, tests in lines if re.search(rf"\b{name}\b", line))
        return set().union(*found) - {IMPORT}

    def tests_of_file(self, file: str) -> set[str]:
        """Return the tests that run any line of *file*."""
        return set().union(*self.tests.get(file, {}).values()) - {IMPORT}


class _Onlooker:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = Survey.read(folder).seconds
        self._seen: set[tuple[str, int]] = set()
        self._seconds: dict[str, float] = {}
        self._lines: dict[str, dict[str, set[int]]] = {}
        self._failed: set[str] = set()
        events = _MONITORING.events
        _MONITORING.use_tool_id(_MONITORING.COVERAGE_ID, "survey")
        _MONITORING.register_callback(_MONITORING.COVERAGE_ID, events.LINE, self._line)
        _MONITORING.set_events(_MONITORING.COVERAGE_ID, events.LINE)

    def _line(self, code: CodeType, number: int) -> Any:
        if code.co_filename.startswith(_PACKAGE):
            self._seen.add((code.co_filename.removeprefix(_PACKAGE), number))
        return _MONITORING.DISABLE

    def _note(self, test: str, seconds: float) -> None:
        number = len(self._seconds)
        self._seconds[test] = seconds
        for file, line in list(self._seen):
            text = linecache.getline(_PACKAGE + file, line).rstrip("\n")
            self._lines.setdefault(file, {}).setdefault(text, set()).add(number)
        self._seen = set()
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
        lines = {
            file: {text: sorted(tests) for text, tests in of.items()}
            for file, of in self._lines.items()
        }
        name = f"{time.time():.0f}-{os.getpid()}.json"
        found = {"seconds": self._seconds, "failed": sorted(self._failed), "lines": lines}
        (self._folder / name).write_text(json.dumps(found))


def pytest_configure(config: pytest.Config) -> None:
    """Begin before the package is imported."""
    if (
        not hasattr(config.option, "dist")
        or config.option.dist == "no"
        or hasattr(config, "workerinput")
    ):
        config.pluginmanager.register(_Onlooker(Path(os.environ["SURVEY"])))
