"""What the demo looks like: a line for each step, the progress below it on a terminal, a table at the end."""

from __future__ import annotations

import os
import signal
import sys

from collections.abc import Iterable
from typing import Final, final

import anyio

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from taxizer_async._cli.demo.load import Counts
from taxizer_async._cli.demo.run import Summary, run_demo
from taxizer_async._cli.demo.scenario import Phase, Progress, Step
from taxizer_async._cli.demo.workers import Workers


_STYLES: Final = {
    Phase.LOGIN: "bold green",
    Phase.EXPIRY: "bold cyan",
    Phase.REVOCATION: "bold magenta",
    Phase.OUTAGE: "bold yellow",
}
_BAR_WIDTH: Final = 30


def play(
    requests: int, *, backend: str, workers: Workers | None = None, page: bool = False
) -> Summary | None:
    """
    Run the demo on *backend* and show it; return its summary, or None if a signal ended it.

    It is drawn live if stdout is a terminal and the variable CI is not set; with *page* the address of the
    sandbox's page is printed first.
    """
    console = Console()
    live = sys.stdout.isatty() and not os.environ.get("CI")
    columns = (BarColumn(_BAR_WIDTH), TextColumn("{task.description}"))
    summary: Summary | None = None
    _handle_signals()
    try:
        with ProgressBar(*columns, console=console, disable=not live) as bar:
            display = Display(bar)
            announce = display.announce if page else None
            summary = anyio.run(run_demo, requests, display, workers, announce, backend=backend)
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
class Display:
    """Prints a line for each step; the progress is a *bar*, or a line for each tenth if that is disabled."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)
        self._tenths = 0

    def __call__(self, news: Progress | Step) -> None:
        live = not self._bar.disable
        if isinstance(news, Step):
            ending = " ✔" if live and news.over else ""
            self._print(news.elapsed, news.phase, _STYLES[news.phase], news.text + ending)
        elif live:
            text = _describe(news)
            self._bar.update(self._task, description=text, completed=news.done, total=news.requests)
        elif (tenths := news.done * 10 // news.requests) > self._tenths:
            self._tenths = tenths
            self._print(news.elapsed, "requests", "", _describe(news))

    def announce(self, url: str) -> None:
        self._bar.console.print(f"Watch it at {url}/", highlight=False, soft_wrap=True)

    def _print(self, elapsed: float, subject: str, style: str, text: str) -> None:
        parts = (f"{elapsed:5.1f} s  ", (f"{subject:<10}", style), f"  {text}")
        self._bar.console.print(Text.assemble(*parts), soft_wrap=True)


def _describe(progress: Progress) -> str:
    return (
        f"{progress.done:,} of {progress.requests:,} done, {progress.failed:,} failed, "
        f"{progress.in_flight:,} in flight"
    )


def _show_summary(console: Console, summary: Summary) -> None:
    progress, counters = summary.progress, summary.progress.counters
    table = Table(show_header=False, title="taxizer-async demo", title_style="bold")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in (
        ("requests", f"{progress.requests:,}"),
        ("failures", f"{progress.failed:,}"),
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
    if len(summary.counts) > 1:
        console.print(_tabulate_workers(summary.counts))


def _tabulate_workers(counts: Iterable[Counts]) -> Table:
    columns = ("worker", "requests", "failures", "logins", "renewals", "from the store")
    table = Table(title="worker processes", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    for number, each in enumerate(counts, start=1):
        row = (number, each.done, each.failed, each.logins, each.renewals, each.adoptions)
        table.add_row(*(f"{count:,}" for count in row))
    return table
