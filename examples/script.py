"""
Submits a batch of invoices, ten at a time, and prints what came of each.

`python script.py invoices.jsonl`, a file with an invoice of JSON on each line. Its environment is
`TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET` and `TAXIZER_BASE_URL`. It exits with 1 if one was not taken.
"""

from __future__ import annotations

import sys

from pathlib import Path

import anyio
import httpx

from taxizer_async import AuthError, TaxizerClient


AT_A_TIME = 10


async def submit(client: TaxizerClient, invoice: str) -> str | None:
    """Submit *invoice*; return what went wrong, if anything did."""
    try:
        response = await client.post(
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
    """Submit *invoices*, print a line for each as it is done, and return how many were not taken."""
    limiter = anyio.CapacityLimiter(AT_A_TIME)
    failed = 0

    async def submit_one(number: int, invoice: str) -> None:
        nonlocal failed
        async with limiter:
            problem = await submit(client, invoice)
        failed += problem is not None
        print(f"line {number}: {problem or 'taken'}")

    async with TaxizerClient.from_env() as client, anyio.create_task_group() as tasks:
        for number, invoice in enumerate(invoices, 1):
            tasks.start_soon(submit_one, number, invoice)
    return failed


if __name__ == "__main__":
    _, *paths = sys.argv
    if len(paths) != 1:
        sys.exit("usage: python script.py invoices.jsonl")
    lines = Path(paths[0]).read_text("utf-8").splitlines()
    sys.exit(1 if anyio.run(submit_all, lines) else 0)
