"""The plots, as SVG that is the same for the same figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl

from matplotlib.figure import Figure

from benchmarks.figures import cumulative, percentile


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.report import Section


CAPTIONS: Final = {
    "renewals.svg": "Latency over time through renewals",
    "latency.svg": "Distribution of request latency, through renewals",
    "logins.svg": "Logins per cold start of eight processes",
    "cost.svg": "Cost per request",
    "impatient.svg": "Callers that succeed though a login takes longer than they wait",
    "recovery.svg": "From the end of an outage to the first success",
    "scale.svg": "Commands per second at the store of simulated workers",
}
OWN: Final = "#0a6a5d"
OTHER: Final = "#9aa5b1"
_FLOOR: Final = "#d9dee4"
#: matplotlib writes colors into each element; these replace them on a dark page.
_DARK: Final = """\
<style>
@media (prefers-color-scheme: dark) {
  text { fill: #ececea; }
  [style*="fill: #ffffff"] { fill: #131416 !important; }
  [style*="stroke: #000000"] { stroke: #8d9197 !important; }
  [style*="fill: #0a6a5d"] { fill: #5fcfbc !important; }
  [style*="stroke: #0a6a5d"] { stroke: #5fcfbc !important; }
  [style*="fill: #9aa5b1"] { fill: #7d8188 !important; }
  [style*="fill: #d9dee4"] { fill: #3f434a !important; }
  image { filter: brightness(1.3); }
}
</style>
"""
#: Seconds that a time series shows: enough for some renewals, few enough to see each request.
_SHOWN: Final = 15.0


def draw(sections: Sequence[Section], folder: Path) -> dict[str, str]:
    """Draw the plots of *sections* into *folder*; return the captions by file name."""
    series = {section.name: section.series for section in sections}
    figures: dict[str, Figure] = {}
    if "renewal" in series:
        figures["renewals.svg"] = _courses(series["renewal"])
        figures["latency.svg"] = _distributions(series["renewal"])
    if "fleet" in series:
        figures["logins.svg"] = _bars(_medians(series["fleet"]), "logins")
    if "requests" in series:
        figures["cost.svg"] = _bars(
            _medians(series["requests"]), "µs of the client's processor, 50 at once"
        )
    if "impatient" in series:
        figures["impatient.svg"] = _bars(_medians(series["impatient"]), "% of callers")
    if "outage" in series:
        figures["recovery.svg"] = _bars(_medians(series["outage"]), "seconds", "%.1f")
    if "simulated" in series:
        figures["scale.svg"] = _rates(series["simulated"])
    save(figures, folder)
    return {name: CAPTIONS[name] for name in figures}


def save(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write *figures* into *folder*, by file name, for light and dark pages."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "taxizer_async", "svg.fonttype": "none"}):
        for name, figure in figures.items():
            figure.savefig(folder / name, metadata={"Date": None})
            text = _finish((folder / name).read_text("utf-8"))
            (folder / name).write_text(text, "utf-8")


def _finish(svg: str) -> str:
    """Return it for dark pages, too, and without the spaces that matplotlib leaves at the ends of lines."""
    lines = [line.rstrip() for line in svg.splitlines()]
    return "\n".join(lines).replace(" <defs>", _DARK + " <defs>", 1) + "\n"


def _names(series: Mapping[str, Sequence[float]]) -> list[str]:
    return [name.removeprefix("latency ") for name in series if name.startswith("latency ")]


def _courses(series: Mapping[str, Sequence[float]]) -> Figure:
    names = _names(series)
    figure = Figure(figsize=(9, 1.3 * len(names)), layout="constrained")
    every = figure.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(every[:, 0], names, strict=True):
        pairs = zip(series[f"due {name}"], series[f"latency {name}"], strict=True)
        shown = [(due, latency * 1000) for due, latency in pairs if due < _SHOWN]
        axes.scatter(*zip(*shown, strict=True), s=3, color=_colour(name), rasterized=True)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_yscale("log")
        plain(axes)
    every[-1, 0].set_xlabel("seconds")
    figure.supylabel("latency, ms")
    return figure


def _distributions(series: Mapping[str, Sequence[float]]) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(_names(series)):
        latencies, shares = cumulative(series[f"latency {name}"])
        axes.step(
            [latency * 1000 for latency in latencies],
            [1 - share + 1 / len(shares) for share in shares],
            where="post",
            label=name,
            color=OWN if name.startswith("taxizer") else f"C{number}",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("share of requests that take longer")
    axes.legend(fontsize=8, frameon=False)
    plain(axes)
    return figure


def _rates(series: Mapping[str, Sequence[float]]) -> Figure:
    names = [name.removeprefix("commands ") for name in series if name.startswith("commands ")]
    figure = Figure(figsize=(9, 1.6 * len(names)), layout="constrained")
    every = figure.subplots(len(names), 1, squeeze=False)
    for axes, name in zip(every[:, 0], names, strict=True):
        axes.step(series[f"seconds {name}"], series[f"commands {name}"], where="post", color=OWN)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylim(bottom=0)
        plain(axes)
    every[-1, 0].set_xlabel("seconds")
    figure.supylabel("commands per second")
    return figure


def _bars(values: Mapping[str, float], what: str, label: str = "%.0f") -> Figure:
    names = list(values)
    figure = Figure(figsize=(9, 0.38 * len(names) + 0.9), layout="constrained")
    axes = figure.subplots()
    places = range(len(names))
    bars = axes.barh(
        places, [values[name] for name in names], color=[_colour(name) for name in names]
    )
    axes.bar_label(bars, fmt=label, padding=3, fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(what)
    plain(axes)
    return figure


def _medians(series: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: percentile(values, 0.5) for name, values in series.items()}


def _colour(name: str) -> str:
    if name.startswith("taxizer"):
        return OWN
    return _FLOOR if name.startswith("static") else OTHER


def plain(axes: Axes) -> None:
    """Leave out the frame of *axes* where it is no axis."""
    axes.spines[["top", "right"]].set_visible(False)
