"""
A fleet of workers that submit invoices from a queue in Redis, where they share one login, too.

`taskiq worker worker_fleet:broker --workers 4` on each machine, and `python worker_fleet.py invoices.jsonl` to have
invoices submitted: a file with an object on each line: `uuid`, `device_id`, `invoice_number`, and `file`, the path of
the signed XML. Its environment is `TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET`, `TAXIZER_BASE_URL` and `REDIS_URL`.
It exits with 1 unless every invoice was accepted.

The queue hands out each invoice once: one whose worker is killed is lost and not submitted twice, which
shows as a result that never comes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys

from pathlib import Path

import anyio

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from taxizer_async import AuthError, TaxizerClient
from taxizer_async.invoices import InvoiceError, submit_signed_xml
from taxizer_async.stores.redis import RedisTokenStore


REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
#: Seconds.
KEEP_RESULTS, WAIT_FOR_RESULT = 86_400, 600.0

broker = ListQueueBroker(REDIS_URL, queue_name="invoices").with_result_backend(
    RedisAsyncResultBackend(REDIS_URL, result_ex_time=KEEP_RESULTS)
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    """Open the client of this process, and keep its token fresh."""
    state.stack = stack = contextlib.AsyncExitStack()
    store = await stack.enter_async_context(RedisTokenStore.from_url(REDIS_URL))
    state.client = await stack.enter_async_context(TaxizerClient.from_env(store=store, timeout=30))
    stack.push_async_callback(end, asyncio.create_task(state.client.auth.keep_fresh()))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_client(state: TaskiqState) -> None:
    """Close it, once the last invoice is done."""
    await state.stack.aclose()


async def end(task: asyncio.Task[None]) -> None:
    """Cancel *task* and wait for its end."""
    task.cancel()
    await asyncio.wait([task])


@broker.task(task_name="submit")
async def submit(invoice: dict[str, str], xml: str) -> tuple[bool, str]:
    """Submit *invoice*, whose *xml* is in base64; return whether it was accepted, and what to print."""
    try:
        outcome = await submit_signed_xml(broker.state.client, **invoice, xml=base64.b64decode(xml))
    except InvoiceError as error:
        return False, str(error)
    except AuthError as error:
        return False, f"not sent: {error}"
    codes = [str(each.code) for each in (*outcome.errors, *outcome.warnings)]
    return outcome.is_accepted, " ".join([outcome.status, *codes])


async def submit_all(lines: list[str]) -> int:
    """Have the invoices of *lines* submitted, and return how many were not accepted."""
    await broker.startup()
    failed = 0
    jobs = []
    for line in lines:
        invoice = json.loads(line)
        xml = base64.b64encode(await anyio.Path(invoice.pop("file")).read_bytes()).decode()
        jobs.append(await submit.kiq(invoice, xml))
    for number, job in enumerate(jobs, 1):
        result = await job.wait_result(timeout=WAIT_FOR_RESULT)
        accepted, told = (
            (False, f"failed: {result.error!r}") if result.is_err else result.return_value
        )
        failed += not accepted
        print(f"line {number}: {told}")
    await broker.shutdown()
    return failed


if __name__ == "__main__":
    _, *paths = sys.argv
    if len(paths) != 1:
        sys.exit("usage: python worker_fleet.py invoices.jsonl")
    lines = Path(paths[0]).read_text("utf-8").splitlines()
    sys.exit(1 if asyncio.run(submit_all(lines)) else 0)
