"""
How much there may be of each thing that a census counts.

At each census all clients are closed, all callers are done and nothing is kept fresh. There must then be not
one task, file descriptor, socket, object of a type or thread in the package's code more than after the
warm-up. The event loop pools idle threads, as many as were wanted at a time: that depends on the machine, but
not on the length of the soak. What is remembered of 401s has its own bound. Memory has a fixed allowance:
caches of the interpreter fill up late, and a freed page is not always given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taxizer_async._token.places import MOST_PLACES
from tests.campaigns.soak.crew import VISITORS
from tests.campaigns.soak.weather import POLICY


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.campaigns.soak.census import Census
    from tests.campaigns.soak.soak import Report


#: Some for each auth that is there at a time, because the call of an abandoned refresh may still run when the
#: next begins, and one that waits for the sandbox's process.
MOST_THREADS: Final = 4 * (2 + VISITORS) + 1
#: What the two auths that stay may remember of 401s, and a store in files of the lock of another.
REMEMBERED: Final = {
    "taxizer_async._token.cache_state.RenewalOf401": 2 * POLICY.unauthorized_budget,
    "taxizer_async._token.places.Refusal": 2 * MOST_PLACES,
    "taxizer_async.stores._file_lease._Sighting": 1,
}
#: Growth allowed after the warm-up.
MORE_TRACKED: Final = 500
MORE_BLOCKS: Final = 1_500
MORE_RESIDENT: Final = 4 * 1024 * 1024


def find_violations(report: Report) -> list[str]:
    """Return the rules that were broken."""
    judge = report.judge
    found = [*judge.violations]
    if judge.violated > len(judge.violations):
        found.append(f"… and {judge.violated - len(judge.violations)} more requests")
    if report.counters["reuses"]:
        found.append(f"{report.counters['reuses']} refresh tokens were sent twice")
    found += [f"something was not closed or awaited: {told}" for told in report.complaints.told[:5]]
    found += _idleness(report)
    found += _growth(report)
    return found


def baseline(report: Report) -> Census:
    """Return the last census of the warm-up."""
    return report.censuses[: report.plan.warm_up][-1]


def _idleness(report: Report) -> Iterator[str]:
    """Yield what did not happen, but must for this to be a test."""
    now = report.counters
    exchanges = now["connects"] + now["refreshes"]
    happened = {
        "a request was served": report.judge.counts["served"],
        "a caller was cancelled": report.judge.counts["cancelled"],
        "an exchange failed": exchanges - now["connects_ok"] - now["refreshes_ok"],
        "a token was refused": now["unauthorized"],
        "a client was closed": report.crew.visits,
    }
    for what, times in happened.items():
        if not times:
            yield f"it never happened that {what}"


def _growth(report: Report) -> Iterator[str]:
    before, last = baseline(report), report.censuses[-1]
    for number, census in enumerate(report.censuses[report.plan.warm_up :], report.plan.warm_up):
        yield from (f"round {number + 1}: {told}" for told in more_things(before, census))
    most = max(census.threads for census in report.censuses)
    if most > report.start.threads + MOST_THREADS:
        yield f"{most} threads, of {report.start.threads} at the start"
    yield from more_memory(before, last)


def more_memory(before: Census, now: Census) -> Iterator[str]:
    """Yield what has grown beyond its allowance."""
    allowances = (
        ("objects", before.tracked, now.tracked, MORE_TRACKED),
        ("blocks of memory", before.blocks, now.blocks, MORE_BLOCKS),
        ("bytes of memory", before.resident, now.resident, MORE_RESIDENT),
    )
    for what, old, new, allowance in allowances:
        if new - old > allowance:
            yield f"{new - old:,} more {what}, of {old:,}"


def more_things(before: Census, now: Census) -> Iterator[str]:
    """Yield what has grown and may not."""
    counts = (
        ("tasks", before.tasks, now.tasks),
        ("threads at work", before.busy, now.busy),
        ("file descriptors", before.files, now.files),
        ("sockets", before.sockets, now.sockets),
        *(
            (name, before.objects.get(name, 0), count)
            for name, count in sorted(now.objects.items())
        ),
    )
    for what, old, new in counts:
        if new > max(old, REMEMBERED.get(what, 0)):
            yield f"{new} {what}, of {old}"
