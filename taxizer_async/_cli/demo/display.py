"""
What the demo looks like: a live picture on a terminal, plain lines elsewhere, a table at the end.

It is told everything that it shows; what happens, and whether that is good, is decided elsewhere.
"""

from __future__ import annotations

import os
import signal
import sys

from typing import TYPE_CHECKING, Final, Self, final

import anyio

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from taxizer_async._cli.demo.incidents import Incident, Note
from taxizer_async._cli.demo.scenario import run_demo


if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from taxizer_async._cli.demo.load import Outcome
    from taxizer_async._cli.demo.scenario import Progress, Summary, Workers


_STYLES: Final = {
    None: "bold green",
    Incident.EXPIRY: "bold cyan",
    Incident.REVOCATION: "bold magenta",
    Incident.OUTAGE: "bold yellow",
}
_BAR_WIDTH: Final = 30
#: Plain lines tell of the progress so many times.
_PLAIN_STEPS: Final = 10


def play(requests: int, *, backend: str, workers: Workers | None = None) -> Summary | None:
    """
    Run the demo on *backend* and show it; return what came of it, None if a signal ended it.

    It is drawn live if stdout is a terminal, and the variable CI is not set.
    """
    console = Console()
    is_live = sys.stdout.isatty() and not os.environ.get("CI")
    summary: Summary | None = None
    _heed_signals()
    try:
        with LiveDisplay(console) if is_live else PlainDisplay(console) as display:
            summary = anyio.run(run_demo, requests, display, workers, backend=backend)
    # trio hands it out in a group. Without a summary the caller knows.
    except* KeyboardInterrupt:
        pass
    if summary is not None:
        _show_summary(console, summary)
    return summary


def _heed_signals() -> None:
    """Have whatever ends this process do it as Ctrl-C does, so that nothing it has started is left."""
    # Shells have background jobs ignore it, unless these say otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


@final
class PlainDisplay:
    """Prints a line for each step, and for each tenth of the requests; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, news: Progress | Note) -> None:
        """Print *news*, if it is worth a line."""
        if isinstance(news, Note):
            self._print(news.elapsed, _name(news.incident), news.text)
            return
        steps = news.tally.done * _PLAIN_STEPS // news.requests
        if steps > self._steps:
            self._steps = steps
            self._print(news.elapsed, "requests", _tell(news))

    def _print(self, elapsed: float, subject: str, text: str) -> None:
        line = f"{elapsed:5.1f} s  {subject:<10}  {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


@final
class LiveDisplay:
    """Draws the requests and the incidents while they happen; a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress: Progress | None = None
        self._notes: tuple[Note, ...] = ()
        self._live = Live(self, console=console, refresh_per_second=12)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, news: Progress | Note) -> None:
        """Show *news* from the next picture on."""
        # Another thread draws, so each of the two is replaced and never changed.
        if isinstance(news, Note):
            self._notes = (*self._notes, news)
        else:
            self._progress = news

    def __rich__(self) -> RenderableType:
        """Return the picture of now."""
        progress = self._progress
        if progress is None:
            return Text("The requests wait for their login …", style="dim")
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=progress.requests, completed=progress.tally.done, width=_BAR_WIDTH)
        head.add_row(bar, Text(_tell(progress)))
        return Group(head, Text(), self._story())

    def _story(self) -> Table:
        story = Table.grid(padding=(0, 2))
        for note in self._notes:
            story.add_row(
                Text(f"{note.elapsed:5.1f} s", style="dim"),
                Text(_name(note.incident), style=_STYLES[note.incident]),
                Text(note.text),
                Text("✔" if note.over else "", style="bold green"),
            )
        return story


def _show_summary(console: Console, summary: Summary) -> None:
    progress, counters = summary.progress, summary.progress.counters
    table = Table(show_header=False, title="taxizer-async demo", title_style="bold")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in (
        ("requests", f"{progress.requests:,}"),
        ("failures", f"{progress.tally.failed:,}"),
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


def _tell(progress: Progress) -> str:
    tally = progress.tally
    return (
        f"{tally.done:,} of {progress.requests:,} done, {tally.failed:,} failed, "
        f"{tally.in_flight:,} in flight"
    )
