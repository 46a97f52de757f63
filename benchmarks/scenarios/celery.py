"""What the tasks of a Celery worker spend: on logins, on TLS contexts, and on each request."""

from __future__ import annotations

import tempfile

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from celery import Celery

from benchmarks.figures import Sample
from benchmarks.report import Claim, Section, Table, spread
from benchmarks.service import Service, Target, WorkerProcess
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async._cli.demo.redis_server import RedisServer
from taxizer_async.stores.redis import RedisTokenStore


if TYPE_CHECKING:
    from benchmarks.bench import Scale


#: What a task returns.
_Done: TypeAlias = dict[str, float]

OWN: Final = "SyncTaxizerClient"
PLAIN: Final = "httpx.Client with a static header"
_TASKS: Final = 1_000
#: Seconds that all of them may take.
_PATIENCE: Final = 60


def run(scale: Scale) -> Section:
    """Run the scenario."""
    cold, found, logins = _measure(scale.of(_TASKS))
    processes = _by_process([*cold, *found[OWN]])
    loads = sum(int(one["loads"]) for ours in processes for one in ours[1:])
    millis = {
        name: Sample(tuple(one["seconds"] * 1000 for one in ones)) for name, ones in found.items()
    }
    return Section(
        name="celery",
        title="Celery: prefork with 4 processes",
        about=(
            "Tasks of one worker, with a Redis as the broker and as the store; each sends one POST to the sandbox, "
            "over the one client of its process. As many tasks come before with nothing in the store. Tasks of both "
            "kinds take turns, so that they find the same load."
        ),
        tables=(
            Table(
                f"{len(found[OWN])} tasks of each kind in {len(processes)} processes",
                ("client", "ms per task", "logins", "CA bundles read after the first task"),
                (
                    (OWN, spread(millis[OWN]), f"{logins}", f"{loads}"),
                    (PLAIN, spread(millis[PLAIN]), "", ""),
                ),
            ),
        ),
        claims=(
            Claim("logins of a Celery worker", logins, 1),
            Claim("CA bundles read after the first task of a process", loads, 0),
        ),
        remarks=(
            f"The median task takes {millis[OWN].median / millis[PLAIN].median:.2f} times as long.",
        ),
    )


def _measure(tasks: int) -> tuple[list[_Done], dict[str, list[_Done]], int]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as redis,
        Service() as service,
        Celery(broker=redis.url, backend=redis.url) as app,
    ):
        site = service.open("celery")
        with WorkerProcess(_environment(site.target, redis.url), "benchmarks.celery_app"):
            waiting = [app.send_task("send", [None]) for _ in range(tasks)]
            cold = [each.get(timeout=_PATIENCE) for each in waiting]
            header = _header(site.target, redis.url)
            sent = [
                (name, app.send_task("send", [argument]))
                for _ in range(tasks)
                for name, argument in ((OWN, None), (PLAIN, header))
            ]
            found: dict[str, list[_Done]] = {OWN: [], PLAIN: []}
            for name, each in sent:
                found[name].append(each.get(timeout=_PATIENCE))
        return cold, found, site.counters()["connects"]


def _environment(target: Target, redis_url: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "TAXIZER_BASE_URL": target.base_url,
        "TAXIZER_CLIENT_ID": target.client_id,
        "TAXIZER_CLIENT_SECRET": target.client_secret,
    }


def _header(target: Target, redis_url: str) -> str:
    pair = Credentials(target.client_id, target.client_secret)
    store = RedisTokenStore.from_url(redis_url)
    auth = TaxizerAuth(pair, base_url=target.base_url, store=store)
    return f"Bearer {auth.sync_token().jwt.reveal()}"


def _by_process(tasks: list[_Done]) -> list[list[_Done]]:
    """Return the tasks of each process in their order."""
    found: dict[float, list[_Done]] = defaultdict(list)
    for each in sorted(tasks, key=lambda task: task["began"]):
        found[each["process"]].append(each)
    return list(found.values())
