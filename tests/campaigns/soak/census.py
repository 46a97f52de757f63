"""
Counts what this process holds when all is quiet: tasks, threads, files, objects, memory.

Reads `/proc`, so it works on Linux.
"""

from __future__ import annotations

import collections
import gc
import logging
import os
import sys
import threading
import traceback
import types
import warnings

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import anyio
import attrs

import taxizer_async


if TYPE_CHECKING:
    from collections.abc import Iterator


_PACKAGE: Final = str(Path(taxizer_async.__file__).parent)
#: Packages with objects that are counted by type: ours, and those that we use.
_WATCHED: Final = ("taxizer_async", "httpx", "httpcore", "anyio")
#: Handles of threads that are kept for the next call.
_POOLED: Final = ("WorkerThread", "EventLoopToken")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen(kw_only=True)
class Census:
    """
    What was counted.

    Attributes:
        tasks: Of the event loop, all kinds.
        threads: Of the process.
        busy: Other threads that are in the package's code.
        files: Open file descriptors, sockets included.
        sockets: Those that are sockets.
        objects: By type, of the package and of what it is made of, unfinished coroutines included.
        tracked: Objects that the garbage collector knows.
        blocks: Small pieces of memory in use.
        resident: Bytes of memory that the process occupies.
    """

    tasks: int
    threads: int
    busy: int
    files: int
    sockets: int
    objects: dict[str, int]
    tracked: int
    blocks: int
    resident: int


async def take_census() -> Census:
    """Let pending work end, and count."""
    for _ in range(3):
        # Collecting an object may close it in a task, which leaves other objects behind.
        gc.collect()
        await anyio.wait_all_tasks_blocked()
    files = _open_files()
    tracked = gc.get_objects()
    return Census(
        tasks=len(anyio.get_running_tasks()),
        threads=threading.active_count(),
        busy=_threads_at_work(),
        files=len(files),
        sockets=sum(file.startswith("socket:") for file in files),
        objects=_by_type(tracked),
        tracked=len(tracked),
        blocks=sys.getallocatedblocks(),
        resident=resident(os.getpid()),
    )


def resident(pid: int) -> int:
    """Return the bytes of memory that the process *pid* occupies."""
    pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    return int(pages) * _PAGE


def _threads_at_work() -> int:
    here = threading.get_ident()
    frames = {ident: frame for ident, frame in sys._current_frames().items() if ident != here}
    return sum(
        any(each.f_code.co_filename.startswith(_PACKAGE) for each, _ in traceback.walk_stack(frame))
        for frame in frames.values()
    )


def _open_files() -> list[str]:
    files: list[str] = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a Path would be counted as well
        try:
            files.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
        except FileNotFoundError:
            # It was the descriptor of the listing itself.
            continue
    return files


def _by_type(tracked: list[object]) -> dict[str, int]:
    return dict(collections.Counter(filter(None, map(_watched_name, tracked))))


def _watched_name(each: object) -> str | None:
    kind = type(each)
    if isinstance(each, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        return _unfinished(each)
    module = kind.__dict__.get("__module__")
    if not isinstance(module, str) or module.split(".")[0] not in _WATCHED:
        return None
    # Interned, since a new string would itself count as memory in use.
    return None if kind.__name__ in _POOLED else sys.intern(f"{module}.{kind.__qualname__}")


def _unfinished(
    each: types.CoroutineType[object, object, object]
    | types.GeneratorType[object, object, object]
    | types.AsyncGeneratorType[object, object],
) -> str | None:
    if isinstance(each, types.CoroutineType):
        code = each.cr_code
    elif isinstance(each, types.GeneratorType):
        code = each.gi_code
    else:
        code = each.ag_code
    if not code.co_filename.startswith(_PACKAGE):
        return None
    return sys.intern(f"{code.co_qualname}()")


@final
class Complaints(logging.Handler):
    """What the interpreter and the event loop report of things that were not closed or awaited."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note what the event loop logs."""
        self._note(record.getMessage())

    def note_unraisable(self, problem: sys.UnraisableHookArgs, /) -> None:
        """Note what a finaliser raised."""
        self._note(f"{type(problem.exc_value).__name__}: {problem.exc_value}")

    def note_warning(
        self, message: Warning | str, category: type[Warning], *_: object, **__: object
    ) -> None:
        """Note a warning."""
        self._note(f"{category.__name__}: {message}")

    def _note(self, text: str) -> None:
        if len(self.told) < 100:
            self.told.append(text)


@contextmanager
def listening() -> Iterator[Complaints]:
    """Collect complaints, and silence the package's log, which is full of outages."""
    complaints = Complaints()
    loop, package = logging.getLogger("asyncio"), logging.getLogger("taxizer_async")
    hook, propagates, silent = sys.unraisablehook, package.propagate, logging.NullHandler()
    with warnings.catch_warnings():
        warnings.simplefilter("always", ResourceWarning)
        # These two are of httpx and anyio; pyproject.toml says when they come.
        warnings.filterwarnings("ignore", "Async generator 'httpx", ResourceWarning)
        warnings.filterwarnings("ignore", "coroutine 'connect_tcp.*try_connect'", RuntimeWarning)
        warnings.showwarning = complaints.note_warning
        sys.unraisablehook = complaints.note_unraisable
        loop.addHandler(complaints)
        package.addHandler(silent)
        package.propagate = False
        try:
            yield complaints
        finally:
            package.propagate = propagates
            package.removeHandler(silent)
            loop.removeHandler(complaints)
            sys.unraisablehook = hook
