"""What the demo looks like: a live picture on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import os
import signal
import sys

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, final

import anyio

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from taxizer_async._cli.demo.run import run_demo
from taxizer_async._cli.demo.scenario import Incident, Step


if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from taxizer_async._cli.demo.load import Outcome
    from taxizer_async._cli.demo.run import Progress, Summary, Workers


_STYLES: Final = {
    None: "bold green",
    Incident.EXPIRY: "bold cyan",
    Incident.REVOCATION: "bold magenta",
    Incident.OUTAGE: "bold yellow",
}
_BAR_WIDTH: Final = 30


def play(requests: int, *, backend: str, workers: Workers | None = None) -> Summary | None:
    """
    Run the demo on *backend* and show it; return its summary, or None if a signal ended it.

    It is drawn live if stdout is a terminal and the variable CI is not set.
    """
    console = Console()
    summary: Summary | None = None
    display: LiveDisplay | PlainDisplay = PlainDisplay(console)
    drawing: AbstractContextManager[object] = nullcontext()
    if sys.stdout.isatty() and not os.environ.get("CI"):
        display = LiveDisplay()
        drawing = Live(display, console=console, refresh_per_second=12)
    _handle_signals()
    try:
        with drawing:
            summary = anyio.run(run_demo, requests, display, workers, backend=backend)
    # trio raises it in a group.
    except* KeyboardInterrupt:
        pass
    if summary is not None:
        _show_summary(console, summary)
    return summary


def _handle_signals() -> None:
    """Let every signal that ends this process act like Ctrl-C, so that it stops what it has started."""
    # Shells start background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


@final
class PlainDisplay:
    """Prints a line for each step, and for each tenth of the requests."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths = 0

    def __call__(self, news: Progress | Step) -> None:
        """Print a step, or a progress that has reached the next tenth."""
        if isinstance(news, Step):
            self._print(news.elapsed, _name(news.incident), news.text)
            return
        tenths = news.counts.done * 10 // news.requests
        if tenths > self._tenths:
            self._tenths = tenths
            self._print(news.elapsed, "requests", _describe(news))

    def _print(self, elapsed: float, subject: str, text: str) -> None:
        line = f"{elapsed:5.1f} s  {subject:<10}  {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


@final
class LiveDisplay:
    """Draws the requests and the incidents as they happen."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._steps: tuple[Step, ...] = ()

    def __call__(self, news: Progress | Step) -> None:
        """Show *news* in the next picture."""
        # Another thread draws, so both values are replaced, never changed.
        if isinstance(news, Step):
            self._steps = (*self._steps, news)
        else:
            self._progress = news

    def __rich__(self) -> RenderableType:
        """Return the current picture."""
        progress = self._progress
        if progress is None:
            return Text("The requests wait for their login …", style="dim")
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=progress.requests, completed=progress.counts.done, width=_BAR_WIDTH)
        head.add_row(bar, Text(_describe(progress)))
        return Group(head, Text(), self._story())

    def _story(self) -> Table:
        story = Table.grid(padding=(0, 2))
        for step in self._steps:
            story.add_row(
                Text(f"{step.elapsed:5.1f} s", style="dim"),
                Text(_name(step.incident), style=_STYLES[step.incident]),
                Text(step.text),
                Text("✔" if step.over else "", style="bold green"),
            )
        return story


def _show_summary(console: Console, summary: Summary) -> None:
    progress, counters = summary.progress, summary.progress.counters
    table = Table(show_header=False, title="taxizer-async demo", title_style="bold")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in (
        ("requests", f"{progress.requests:,}"),
        ("failures", f"{progress.counts.failed:,}"),
        ("logins", f"{counters.connects_ok:,}"),
        ("renewals", f"{counters.refreshes_ok:,}"),
        ("401s met", f"{counters.unauthorized:,}"),
        ("calls to token endpoints", f"{counters.exchanges:,}"),
        ("p50 latency", f"{summary.percentile(0.50) * 1000:,.0f} ms"),
        ("p99 latency", f"{summary.percentile(0.99) * 1000:,.0f} ms"),
        ("the sandbox's own part", f"{summary.latency * 1000:,.0f} ms"),
        ("duration", f"{progress.elapsed:.1f} s"),
    ):
        table.add_row(name, value)
    console.print(table)
    if len(summary.outcomes) > 1:
        console.print(_tabulate_workers(summary.outcomes))


def _tabulate_workers(outcomes: Iterable[Outcome]) -> Table:
    columns = ("worker", "requests", "failures", "logins", "renewals", "from the store")
    table = Table(title="worker processes", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    for number, outcome in enumerate(outcomes, start=1):
        counts = (
            *(outcome.answered + outcome.failed, outcome.failed),
            *(outcome.logins, outcome.renewals, outcome.adoptions),
        )
        table.add_row(str(number), *(f"{count:,}" for count in counts))
    return table


def _name(incident: Incident | None) -> str:
    return "login" if incident is None else incident.value


def _describe(progress: Progress) -> str:
    counts = progress.counts
    return (
        f"{counts.done:,} of {progress.requests:,} done, {counts.failed:,} failed, "
        f"{counts.in_flight:,} in flight"
    )
