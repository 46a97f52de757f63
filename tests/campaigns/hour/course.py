"""
The samples of a long run, and the rule by which they are flat.

A quantity may rise by 2 % of its level over the whole run; a handful of things, by two of them. The rise is the
median of the slopes between any two samples of the last three quarters (Theil-Sen): an allocator takes memory from the
system in steps, and one step is no growth. From the first quarter to the last, with all steps, it may rise by 5 %,
or by two things. Samples in an outage, and the first one after it, are left out: callers pile up then, and
that is right.
"""

from __future__ import annotations

import csv
import gc
import itertools
import os
import statistics
import sys
import threading

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_type_hints

import attrs

from tests.campaigns.soak.census import resident


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


#: The shares of its level that a quantity may rise by, steadily and with all steps, and the number of things.
_MOST_GROWTH: Final = 0.02
_MOST_STEPS: Final = 0.05
_MOST_THINGS: Final = 2.0


@attrs.frozen(kw_only=True)
class Sample:
    """
    What was counted at a moment.

    Attributes:
        seconds: Since the run began.
        outage: Whether the token endpoints were down.
        served: Requests that were answered so far.
        cancelled: Requests that their callers gave up so far.
        failed: Requests that failed so far.
        kinds: Likewise by kind, as JSON.
        loops: Event loops that have come and gone so far.
        logins: Calls of Connect so far.
        refreshes: Calls of AppRefreshToken so far.
        reuses: Refresh tokens that were sent twice so far.
        resident: Bytes of memory that the process occupies.
        private: Those of them that no other process may share.
        files: Open file descriptors.
        threads: Threads.
        tasks_asyncio: Tasks of the asyncio loop that lasts.
        tasks_trio: Tasks of the trio loop that lasts.
        objects: Objects that the garbage collector knows.
        blocks: Small pieces of memory in use.
        processor: Seconds of processor time so far.
    """

    seconds: float
    outage: int
    served: int
    cancelled: int
    failed: int
    kinds: str
    loops: int
    logins: int
    refreshes: int
    reuses: int
    resident: int
    private: int
    files: int
    threads: int
    tasks_asyncio: int
    tasks_trio: int
    objects: int
    blocks: int
    processor: float


#: What must not grow.
FLAT: Final = (
    "resident",
    "private",
    "objects",
    "blocks",
    "files",
    "threads",
    "tasks_asyncio",
    "tasks_trio",
)


def held() -> dict[str, float]:
    """Return what the process holds, by the names of a sample."""
    return {
        "resident": resident(os.getpid()),
        "private": _private(),
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - a Path would be counted as well
        "threads": threading.active_count(),
        # In one step: a tuple that another thread is making can't be finished while a list has it.
        "objects": next(map(len, iter(gc.get_objects, None))),
        "blocks": sys.getallocatedblocks(),
        "processor": sum(os.times()[:2]),
    }


def _private() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Private_Dirty:"):
            return 1024 * int(line.split()[1])
    msg = "the kernel does not count private memory"
    raise OSError(msg)


@attrs.frozen(kw_only=True)
class Trend:
    """
    How a quantity has changed.

    Attributes:
        name: Of the field of a sample.
        first: Its median in the first quarter.
        last: Its median in the last quarter.
        first_most: Its maximum in the first quarter.
        last_most: Its maximum in the last quarter.
        rise: By how much it rises steadily over the whole run.
        level: Where this rise begins.
    """

    name: str
    first: float
    last: float
    first_most: float
    last_most: float
    rise: float
    level: float

    @property
    def is_flat(self) -> bool:
        """Whether both rises are within the rule."""
        steady = self.rise <= max(_MOST_GROWTH * self.level, _MOST_THINGS)
        return steady and self.last - self.first <= max(_MOST_STEPS * self.first, _MOST_THINGS)


def trends(samples: Sequence[Sample]) -> Iterator[Trend]:
    """Yield the trend of each quantity that must not grow; there are eight samples in fair weather at least."""
    pairs = itertools.pairwise(samples)
    calm = [now for before, now in pairs if not (before.outage or now.outage)]
    quarter = len(calm) // 4
    for name in FLAT:
        values = [float(getattr(sample, name)) for sample in calm]
        seconds = [sample.seconds for sample in calm]
        points = [*zip(seconds, values, strict=True)][quarter:]
        slope = statistics.median(
            (last - first) / (end - begin)
            for (begin, first), (end, last) in itertools.combinations(points, 2)
        )
        yield Trend(
            name=name,
            first=statistics.median(values[:quarter]),
            last=statistics.median(values[-quarter:]),
            first_most=max(values[:quarter]),
            last_most=max(values[-quarter:]),
            rise=slope * samples[-1].seconds,
            level=statistics.median(value - slope * at for at, value in points),
        )


@contextmanager
def written(path: Path) -> Iterator[Callable[[Sample], None]]:
    """Provide what writes a sample to *path*, as CSV; samples that were kept would themselves be growth."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in attrs.fields(Sample))

        def write(sample: Sample) -> None:
            writer.writerow(attrs.astuple(sample))
            file.flush()

        yield write


def read(path: Path) -> list[Sample]:
    """Return the samples that were written to *path*."""
    types = get_type_hints(Sample)
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Sample(**{name: types[name](value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]
