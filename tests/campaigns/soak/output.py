"""What long runs print: their figures, each rule that is broken, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from tests.campaigns.soak.census import Census


def say(text: str) -> None:
    """Print a line at once, as the run may be ended from outside."""
    print(text, flush=True)  # noqa: T201


def say_verdict(figures: Iterable[str], violations: Sequence[str], run: str) -> int:
    """Print what came of *run*; return the exit code, 1 if there are *violations*."""
    for line in figures:
        say(line)
    for violation in violations:
        say(f"BROKEN: {violation}")
    say(f"{'broken' if violations else 'clean'}: {run}")
    return 1 if violations else 0


def census_line(name: str, census: Census) -> str:
    """Return what was counted at the moment that *name* tells."""
    counted = attrs.asdict(census) | {"objects": sum(census.objects.values())}
    return f"{name}: " + ", ".join(f"{what} {count:,}" for what, count in counted.items())
