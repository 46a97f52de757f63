"""What a run looks like on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.campaigns.fuzz.campaign import Tally


_KINDS_PER_LINE: Final = 3

Row = tuple[str, str, float, "Tally"]


def head() -> str:
    """Return the line above all."""
    return f"{'target':12} {'loop':8} {'inputs':>8} {'deep':>5} {'slowest':>9} {'/s':>7}  outcomes"


def draw_row(name: str, loop: str, seconds: float, tally: Tally) -> str:
    """Return what is to be seen of one target."""
    share = tally.deep / max(1, tally.inputs)
    speed = tally.inputs / max(seconds, 1e-9)
    start = f"{name:12} {loop:8} {tally.inputs:8,} {share:5.0%} {tally.slowest * 1000:6.0f} ms {speed:7,.0f}"
    lines = [*_outcomes(tally)]
    return "\n".join(f"{start if not at else '':54}  {line}" for at, line in enumerate(lines))


def draw_total(tallies: Iterable[Tally]) -> str:
    """Return the figures of all targets together."""
    every = list(tallies)
    inputs = sum(tally.inputs for tally in every)
    deep = sum(tally.deep for tally in every)
    return f"{'all':12} {'':8} {inputs:8,} {deep / max(1, inputs):5.0%}  (deep: got past the first check)"


def _outcomes(tally: Tally) -> Iterator[str]:
    told = [f"{kind} {count:,}" for kind, count in tally.kinds.most_common()]
    for start in range(0, len(told), _KINDS_PER_LINE):
        yield " · ".join(told[start : start + _KINDS_PER_LINE])
