"""
Submits a batch of signed invoices, ten at a time, and prints what came of each.

`python script.py invoices.jsonl`, a file with an object on each line: `uuid`, `device_id`, `invoice_number`, and
`file`, the path of the signed XML. Its environment is `TAXIZER_CLIENT_ID`, `TAXIZER_CLIENT_SECRET` and
`TAXIZER_BASE_URL`. It exits with 1 unless every invoice was accepted.
"""

from __future__ import annotations

import json
import sys

from pathlib import Path

import anyio

from taxizer_async import AuthError, TaxizerClient
from taxizer_async.invoices import InvoiceError, submit_signed_xml


AT_A_TIME = 10


async def submit(client: TaxizerClient, line: str) -> tuple[bool, str]:
    """Submit the invoice of *line*; return whether it was accepted, and what to print."""
    invoice = json.loads(line)
    xml = await anyio.Path(invoice.pop("file")).read_bytes()
    try:
        outcome = await submit_signed_xml(client, **invoice, xml=xml)
    except InvoiceError as error:
        return False, str(error)
    except AuthError as error:
        return False, f"not sent: {error}"
    codes = [str(each.code) for each in (*outcome.errors, *outcome.warnings)]
    return outcome.is_accepted, " ".join([outcome.status, *codes])


async def submit_all(lines: list[str]) -> int:
    """Submit the invoices of *lines*, print a line for each, and return how many were not accepted."""
    limiter = anyio.CapacityLimiter(AT_A_TIME)
    failed = 0

    async def submit_one(number: int, line: str) -> None:
        nonlocal failed
        async with limiter:
            accepted, told = await submit(client, line)
        failed += not accepted
        print(f"line {number}: {told}")

    async with TaxizerClient.from_env() as client, anyio.create_task_group() as tasks:
        for number, line in enumerate(lines, 1):
            tasks.start_soon(submit_one, number, line)
    return failed


if __name__ == "__main__":
    _, *paths = sys.argv
    if len(paths) != 1:
        sys.exit("usage: python script.py invoices.jsonl")
    batch = Path(paths[0]).read_text("utf-8").splitlines()
    sys.exit(1 if anyio.run(submit_all, batch) else 0)
