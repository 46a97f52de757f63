"""Crowd: many processes, or many auths, that share one token, over each store."""

from __future__ import annotations

import tempfile

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.figures import percentile
from benchmarks.redis_load import CONNECTIONS, count_commands, looks_per_second
from benchmarks.report import Claim, Section, Table
from benchmarks.service import Service, WorkerProcess
from taxizer_async._cli.demo.redis_server import RedisServer


if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Scale


_PROGRAM: Final = "benchmarks.crowd_worker"
_STORES: Final = {"file": "FileTokenStore", "redis": "RedisTokenStore"}
#: The numbers of processes with an auth each, and one crowd of processes with many: processes, auths of each.
_CROWDS: Final = ((1, 1), (8, 1), (32, 1), (64, 1), (4, 500))
_QUICK: Final = ((2, 1), (2, 20))
#: The processes of the long wait, and the seconds that its login takes.
_WAITING: Final = 8
_LONG_LOGIN: Final = 5.0
#: Seconds for which Redis is asked as fast as it answers.
_RATED: Final = 5


@attrs.frozen(kw_only=True)
class Start:
    """
    The results of a cold start.

    Attributes:
        store: The kind of the store.
        processes: How many there were.
        auths: How many each of them had.
        login: Seconds that the login took the server.
        counters: The server's.
        failed: Auths that got no token.
        calls: Calls to the store by each process that did not log in ...
        cpu: ... its processor time in seconds ...
        share: ... and what part of a core that was.
        commands: Commands that clients sent to Redis, all together.
        delays: Seconds from the end of the login until each auth had the token.
    """

    store: str
    processes: int
    auths: int
    login: float
    counters: dict[str, int]
    failed: int
    calls: tuple[int, ...]
    cpu: tuple[float, ...]
    share: tuple[float, ...]
    commands: int
    delays: tuple[float, ...]

    @property
    def name(self) -> str:
        """What it is called in tables."""
        of = "process" if self.processes == 1 else "processes"
        many = f" with {self.auths} auths each" if self.auths > 1 else ""
        return f"{_STORES[self.store]}, {self.processes} {of}{many}"


def run(scale: Scale) -> Section:
    """Run the scenario."""
    crowds = _QUICK if scale.quick else _CROWDS
    processes, login = (2, 1.0) if scale.quick else (_WAITING, _LONG_LOGIN)
    with Service() as service:
        starts = [
            _start(service, store, crowd, scale.login) for store in _STORES for crowd in crowds
        ]
        waits = [_start(service, store, (processes, 1), login) for store in _STORES]
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        rate = looks_per_second(server, seconds=scale.of(_RATED))
    return Section(
        name="crowd",
        title="Crowd: many processes that share a token",
        about=(
            f"All start at the same moment with nothing in the store, and each auth asks for a token; a login "
            f"takes the server {scale.login * 1000:.0f} ms. They share this machine's processors with each "
            "other, with the server and with Redis. Times are from the end of the login, so they include "
            "its save. Processor time is that of processes that did not log in, and includes their "
            "first connection to the store."
        ),
        tables=(
            Table(
                "Cold starts",
                (
                    "store and crowd",
                    "logins",
                    "renewals",
                    "failed",
                    "store calls of a process",
                    "commands at Redis, per process",
                    "first request, p50, ms",
                    "… the last, ms",
                    "processor time of a process, ms",
                ),
                tuple(map(_row, starts)),
            ),
            Table(
                f"A wait of {login:.0f} s for the login of another, {processes} processes",
                ("store", "store calls of a process, most", "% of a core, median", "most"),
                tuple(
                    (
                        _STORES[one.store],
                        f"{max(one.calls)}",
                        f"{_middle(one.share) * 100:.2f}",
                        f"{max(one.share) * 100:.2f}",
                    )
                    for one in waits
                ),
            ),
        ),
        claims=tuple(_claims(starts, waits)),
        remarks=(
            (
                f"One Redis of this machine served {rate:,.0f} looks per second to {CONNECTIONS} connections, "
                "each of which waited for an answer before it asked again."
            ),
        ),
    )


def _claims(starts: Sequence[Start], waits: Sequence[Start]) -> list[Claim]:
    claims: list[Claim] = []
    for store, name in _STORES.items():
        own = [one for one in starts if one.store == store]
        logins = max(one.counters["exchanges"] for one in own)
        claims += [
            Claim(f"logins of a crowd ({name})", logins, 1),
            Claim(f"auths of a crowd that failed ({name})", sum(one.failed for one in own), 0),
        ]
    for one in waits:
        name = f"{one.login:.0f} s of waiting ({_STORES[one.store]})"
        claims.append(Claim(f"{name}: part of a core", _middle(one.share) * 100, 1, "%"))
        claims.append(Claim(f"{name}: calls of a process", max(one.calls), 40))
    return claims


def _row(start: Start) -> tuple[str, ...]:
    at_redis = f"{start.commands / start.processes:.1f}" if start.commands else ""
    return (
        start.name,
        f"{start.counters['connects']}",
        f"{start.counters['refreshes']}",
        f"{start.failed}",
        f"{_middle(start.calls):.0f}" if start.calls else "",
        at_redis,
        f"{percentile(start.delays, 0.5) * 1000:.0f}",
        f"{max(start.delays) * 1000:.0f}",
        f"{_middle(start.cpu) * 1000:.0f}" if start.cpu else "",
    )


def _middle(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def _start(service: Service, store: str, crowd: tuple[int, int], login: float) -> Start:
    processes, auths = crowd
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        where, server = f"{folder}/tokens", None
        if store == "redis":
            server = stack.enter_context(RedisServer(Path(folder)))
            where = server.url
        site = service.open(folder, connect_latency=login)
        config = {
            "store": store,
            "where": where,
            "target": attrs.asdict(site.target),
            "auths": auths,
        }
        workers: list[WorkerProcess] = []
        for _ in range(processes):
            # One after the other, as all at once would take longer.
            worker = stack.enter_context(WorkerProcess(config, _PROGRAM))
            worker.receive()
            workers.append(worker)
        for worker in workers:
            worker.send("go")
        reports: list[dict[str, Any]] = [worker.receive() for worker in workers]
        commands = 0 if server is None else count_commands(server)
    waited = [one for one in reports if not one["logins"]]
    return Start(
        store=store,
        processes=processes,
        auths=auths,
        login=login,
        counters=site.counters(),
        failed=sum(one["failed"] for one in reports),
        calls=tuple(one["calls"] for one in waited),
        cpu=tuple(one["cpu"] for one in waited),
        share=tuple(one["cpu"] / one["seconds"] for one in waited),
        commands=commands,
        delays=_delays(site.exchanges(), reports),
    )


def _delays(exchanges: list[dict[str, Any]], reports: list[dict[str, Any]]) -> tuple[float, ...]:
    done_at = min(entry["finished_at"] for entry in exchanges)
    # One of another login, or from before that ended, is no delay.
    return tuple(max(0.0, at - done_at) for one in reports for at in one["served"]) or (0.0,)
