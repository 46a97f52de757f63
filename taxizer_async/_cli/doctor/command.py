"""The command `doctor`."""

from __future__ import annotations

import contextlib
import math

from typing import Annotated, Final

import anyio
import typer

from taxizer_async._cli.doctor.case import Case
from taxizer_async._cli.doctor.findings import Finding, exit_code
from taxizer_async._cli.doctor.runner import examine
from taxizer_async._cli.doctor.show import display, show_json
from taxizer_async._cli.options import Json, with_store
from taxizer_async._cli.store_config import StoreConfig, StoreKind
from taxizer_async._core.helper_loop import HelperLoop


#: Seconds; nobody waits longer for a check.
_LONGEST: Final = 3_600.0


def _check_limit(seconds: float) -> float:
    if math.isnan(seconds):  # which passes the bounds of some versions of typer
        msg = "nan is no time"
        raise typer.BadParameter(msg)
    return seconds


@with_store(StoreKind.MEMORY)
def doctor(
    base_url: str,
    store: StoreConfig,
    *,
    json: Json = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=_LONGEST,
            metavar="SECONDS",
            help="The limit of each check.",
            callback=_check_limit,
        ),
    ] = 10.0,
) -> None:
    """
    Find out what is wrong between this machine and Taxizer.

    Checks the environment, the way to the API, the login, the token, the store and the packages, and says
    what to do. It logs in once, keeps nothing and submits nothing. What it prints has no secret in it, so
    that it can be pasted into a ticket.

    Exits with 0 if all is well, 1 if the credentials or the token are refused, 2 if something here is set
    wrongly, 3 if something can't be reached.
    """
    case = Case(base_url=base_url, store=store, seconds=timeout)
    # Its end waits for no host name that is still being looked up.
    options = {"loop_factory": HelperLoop}
    findings = anyio.run(_collect if json else _show, case, backend_options=options)
    if json:
        show_json(findings)
    raise typer.Exit(exit_code(findings))


async def _collect(case: Case) -> list[Finding]:
    async with contextlib.aclosing(examine(case)) as findings:
        return [each async for each in findings]


async def _show(case: Case) -> list[Finding]:
    found: list[Finding] = []
    with display() as (begin, show):
        async with contextlib.aclosing(examine(case, begin=begin)) as findings:
            async for each in findings:
                show(each)
                found.append(each)
    return found
