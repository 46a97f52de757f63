"""What a fleet that shares a token spends: on logins, until its first requests, and on each later one."""

from __future__ import annotations

import tempfile

from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from benchmarks.bench import Scale, in_a_row, succeed
from benchmarks.contenders import Setup
from benchmarks.field import BY_NAME, LOCK, OWN, PEERS
from benchmarks.figures import Sample, rotated
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, ratio, spread
from benchmarks.service import Service, WorkerProcess
from benchmarks.worker import close_store, make_store
from taxizer_async._cli.demo.redis_server import RedisServer
from taxizer_async._core.policy import LEASE_YIELDED_FOR


if TYPE_CHECKING:
    from benchmarks.contenders import Session
    from benchmarks.service import Site


TASKS: Final = 20
LOGIN: Final = 1.0
#: Milliseconds: the longest pause between two looks into the store, and the time that a look may take.
_SEEN_WITHIN: Final = 1000 * LEASE_YIELDED_FOR + 50
_STEADY: Final = 300
_ATTACHED: Final = 5_000
#: For each fleet the contender, and the store of the package that it shares.
_FLEETS: Final[dict[str, tuple[str, str | None]]] = {
    "taxizer_async, FileTokenStore": (OWN, "file"),
    "taxizer_async, RedisTokenStore": (OWN, "redis"),
    "taxizer_async, no store": (OWN, None),
    LOCK: (LOCK, None),
    "httpx-auth, JsonTokenFileCache": ("httpx-auth", None),
    "Authlib": ("Authlib", None),
}
_FILE, _REDIS, *_ALONE = _FLEETS
_STORES: Final[tuple[str | None, ...]] = (None, "file", "redis")


@attrs.frozen(kw_only=True)
class Start:
    """
    The results of a cold start.

    Attributes:
        exchanges: Calls to the token endpoints.
        failed: Requests that failed.
        first: Seconds from the end of the first login until each process had its first token.
        last: Seconds until the last coroutine of all had one.
    """

    exchanges: int
    failed: int
    first: float
    last: float


def run(scale: Scale) -> Section:
    """Run the scenario."""
    starts = _starts(scale)
    hot, whole = anyio.run(_steady, scale)
    return Section(
        name="fleet",
        title="Fleet: several processes",
        about=(
            f"{scale.processes} processes with {TASKS} coroutines each start with nothing in the store; a login "
            f"takes the server {_login(scale) * 1000:.0f} ms. They share this machine's processors with each other and "
            "with the server. Times are from the end of the first login until the last process had a "
            "token for its first request, and until the last coroutine had one. Where each process logs "
            "in by itself, that is the others' logins, and Authlib's come before."
        ),
        tables=(
            _start_table(starts, scale.processes),
            Table(
                "A request with a fresh token, by store",
                ("store", "the auth alone, µs", "ratio", "a whole request, µs", "ratio"),
                tuple(
                    (
                        store or "memory",
                        spread(hot[store].scaled(1e6)),
                        ratio(hot[store], hot[None]),
                        spread(whole[store].scaled(1e6), 0),
                        ratio(whole[store], whole[None], 3),
                    )
                    for store in _STORES
                ),
            ),
        ),
        claims=(
            Claim("logins of a fleet (file)", max(one.exchanges for one in starts[_FILE]), 1),
            Claim("logins of a fleet (Redis)", max(one.exchanges for one in starts[_REDIS]), 1),
            Claim(
                "first requests after the login (file)",
                _median(starts[_FILE], "first"),
                _SEEN_WITHIN,
                "ms",
            ),
            Claim(
                "first requests after the login (Redis)",
                _median(starts[_REDIS], "first"),
                _SEEN_WITHIN,
                "ms",
            ),
            Claim(
                "a request with a file store, times that with memory",
                whole["file"].over(whole[None]).median,
                1.02,
            ),
            Claim(
                "a request with a Redis store, times that with memory",
                whole["redis"].over(whole[None]).median,
                1.02,
            ),
        ),
        summary=(
            Row(
                f"{scale.processes} processes that start at once: logins",
                {
                    OWN: f"{max(one.exchanges for one in (*starts[_FILE], *starts[_REDIS]))}",
                    **{
                        _FLEETS[name][0]: f"{max(one.exchanges for one in starts[name])}"
                        for name in _ALONE
                        if _FLEETS[name][0] != OWN
                    },
                },
            ),
        ),
        remarks=(
            (
                "Processes do not lock the file of httpx-auth, so all that start together log in; one may read "
                "a file that another is writing, which it logs."
            ),
            peers_ahead(
                {
                    _FLEETS[name][0] if name in _ALONE else name: Sample([_median(found, "first")])
                    for name, found in starts.items()
                },
                _FILE,
                PEERS,
                "This is until each process had a token. One that logs in by itself waits for no store, and costs "
                "the server a login.",
            ),
        ),
        series={name: [float(one.exchanges) for one in found] for name, found in starts.items()},
    )


def _login(scale: Scale) -> float:
    return scale.login if scale.quick else LOGIN


def _median(starts: list[Start], what: str) -> float:
    return Sample(tuple(getattr(one, what) * 1000 for one in starts)).median


def _start_table(starts: dict[str, list[Start]], processes: int) -> Table:
    rows = tuple(
        (
            name,
            f"{max(one.exchanges for one in found)}",
            f"{max(one.failed for one in found)}",
            *(
                spread(Sample(tuple(getattr(one, what) * 1000 for one in found)), 0)
                for what in ("first", "last")
            ),
        )
        for name, found in starts.items()
    )
    return Table(
        f"{processes} processes, {processes * TASKS} requests",
        ("contender", "logins", "failed", "first of each process, ms", "last of all, ms"),
        rows,
    )


def _starts(scale: Scale) -> dict[str, list[Start]]:
    found: dict[str, list[Start]] = {name: [] for name in _FLEETS}
    with Service() as service:
        for number in range(scale.rounds):
            # One round shows how often processes that share nothing log in.
            names = list(_FLEETS) if number == 0 else [_FILE, _REDIS]
            for name in rotated(names, number):
                found[name].append(_start(service, name, scale.processes, _login(scale)))
    return found


def _start(service: Service, name: str, processes: int, login: float) -> Start:
    contender, store = _FLEETS[name]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        where = f"{folder}/tokens" if store else folder
        if store == "redis":
            where = stack.enter_context(RedisServer(Path(folder))).url
        site = service.open(folder, connect_latency=login)
        config = {
            "contender": contender,
            "module": BY_NAME[contender].open.__module__,
            "store": store,
            "where": where,
            "target": attrs.asdict(site.target),
            "tasks": TASKS,
        }
        workers = [stack.enter_context(WorkerProcess(config)) for _ in range(processes)]
        for worker in workers:
            worker.receive()
        for worker in workers:
            worker.send("go")
        reports = [worker.receive() for worker in workers]
    return _start_of(site, reports)


def _start_of(site: Site, reports: list[dict[str, Any]]) -> Start:
    exchanges = site.exchanges()
    done_at = min(entry["finished_at"] for entry in exchanges)
    return Start(
        exchanges=len(exchanges),
        failed=sum(one["failed"] for one in reports),
        first=max(one["first"] for one in reports) - done_at,
        last=max(one["last"] for one in reports) - done_at,
    )


async def _steady(
    scale: Scale,
) -> tuple[dict[str | None, Sample], dict[str | None, Sample]]:
    hot: dict[str | None, list[float]] = {store: [] for store in _STORES}
    whole: dict[str | None, list[float]] = {store: [] for store in _STORES}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis = stack.enter_context(RedisServer(Path(folder)))
        service = stack.enter_context(Service())
        sessions: dict[str, tuple[str | None, Session]] = {}
        for kind in _STORES:
            store = make_store(kind, redis.url if kind == "redis" else f"{folder}/tokens")
            stack.push_async_callback(close_store, store)
            setup = Setup(target=service.open(f"{kind}").target, store=store)
            session = await stack.enter_async_context(BY_NAME[OWN].open(setup))
            await succeed(session)
            sessions[f"{kind}"] = (kind, session)
        for number in range(scale.many):
            for name in rotated(list(sessions), number):
                kind, session = sessions[name]
                assert session.attach is not None
                attached = await in_a_row(session.attach, scale.of(_ATTACHED))
                requested = await in_a_row(partial(succeed, session), scale.of(_STEADY))
                hot[kind].append(attached.wall / scale.of(_ATTACHED))
                whole[kind].append(requested.wall / scale.of(_STEADY))
    return (
        {store: Sample(tuple(values)) for store, values in hot.items()},
        {store: Sample(tuple(values)) for store, values in whole.items()},
    )
