"""The plot of a long run."""

from __future__ import annotations

import itertools

from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

from benchmarks.plots import OTHER, OWN, plain, save


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.campaigns.hour.course import Sample


#: What is drawn, above each other, and what one unit on the axis is.
_PANELS: Final = (
    ("private", "memory that no other process shares, MB", 1e6),
    ("objects", "objects, thousands", 1e3),
    ("files", "file descriptors", 1),
    ("threads", "threads", 1),
    ("tasks_asyncio", "tasks of the asyncio loop", 1),
    ("tasks_trio", "tasks of the trio loop", 1),
)


def draw(samples: Sequence[Sample], folder: Path) -> None:
    """Draw *samples* into *folder* as hour.svg; outages are shaded."""
    minutes = [sample.seconds / 60 for sample in samples]
    figure = Figure(figsize=(9, 1.1 * (len(_PANELS) + 1)), layout="constrained")
    every = figure.subplots(len(_PANELS) + 1, 1, sharex=True)
    rates, *others = every
    pairs = itertools.pairwise(samples)
    rates.step(
        minutes[1:],
        [(now.served - then.served) / (now.seconds - then.seconds) for then, now in pairs],
        where="pre",
        color=OWN,
    )
    rates.set_title("requests served per second", loc="left", fontsize=9)
    for axes, (name, title, unit) in zip(others, _PANELS, strict=True):
        axes.plot(minutes, [getattr(sample, name) / unit for sample in samples], color=OWN)
        axes.set_title(title, loc="left", fontsize=9)
    for axes in every:
        axes.set_ylim(0, 1.2 * axes.dataLim.ymax)
        axes.fill_between(
            minutes,
            1,
            where=[bool(sample.outage) for sample in samples],
            transform=axes.get_xaxis_transform(),
            color=OTHER,
            alpha=0.3,
            linewidth=0,
        )
        plain(axes)
    every[-1].set_xlabel("minutes")
    save({"hour.svg": figure}, folder)
