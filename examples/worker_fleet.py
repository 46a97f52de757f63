"""
A fleet of workers that submit invoices from a queue in Redis, where they share one login, too.

`taskiq worker worker_fleet:broker --workers 4` on each machine, and `python worker_fleet.py invoices.jsonl`,
a file with an invoice of JSON on each line, to have them submitted. Its environment is
`TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET`, `TAXIZER_BASE_URL` and `REDIS_URL`.

The queue hands out each invoice once: one whose worker is killed is lost and not submitted twice, which
shows as a result that never comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from pathlib import Path

import httpx

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from taxizer_async import AuthError, TaxizerClient
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
async def submit(invoice: str) -> str | None:
    """Submit *invoice*; return what went wrong, if anything did."""
    try:
        response = await broker.state.client.post(
            "/v1/Invoices/GenerateInvoice",
            content=invoice,
            headers={"Content-Type": "application/json"},
        )
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        return f"refused with {error.response.status_code}"
    except httpx.TransportError as error:
        return f"not answered, so it may have been taken: {type(error).__name__}"
    except AuthError as error:
        return f"not sent: {error}"
    return None


async def submit_all(invoices: list[str]) -> int:
    """Have *invoices* submitted, print a line for each, and return how many were not taken."""
    await broker.startup()
    failed = 0
    jobs = [await submit.kiq(invoice) for invoice in invoices]
    for number, job in enumerate(jobs, 1):
        result = await job.wait_result(timeout=WAIT_FOR_RESULT)
        problem = f"failed: {result.error!r}" if result.is_err else result.return_value
        failed += problem is not None
        print(f"line {number}: {problem or 'taken'}")
    await broker.shutdown()
    return failed


if __name__ == "__main__":
    _, *paths = sys.argv
    if len(paths) != 1:
        sys.exit("usage: python worker_fleet.py invoices.jsonl")
    lines = Path(paths[0]).read_text("utf-8").splitlines()
    sys.exit(1 if asyncio.run(submit_all(lines)) else 0)
