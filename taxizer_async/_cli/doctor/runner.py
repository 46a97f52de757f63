"""The order of the checks, and the limits of each: its time, what it needs, and that its crash is its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final

import anyio
import attrs

from taxizer_async._cli.doctor import local_checks, network_checks
from taxizer_async._cli.doctor.case import Case
from taxizer_async._cli.doctor.findings import Finding, State, finding_of
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._http.network_errors import describe_network_error


@attrs.frozen(eq=False)
class Check:
    """
    A check.

    Attributes:
        name: How it is shown.
        run: Returns what it finds.
        needs: The checks without which it would find nothing new.
        advice: What to do if it fails and has no better advice.
    """

    name: str
    run: Callable[[Case], Awaitable[Finding]]
    needs: tuple[str, ...] = ()
    advice: str = ""


CHECKS: Final = (
    Check(
        "credentials",
        local_checks.check_credentials,
        advice="check the file system of the files that TAXIZER_*_FILE name",
    ),
    Check("url", local_checks.check_url),
    Check("proxy", local_checks.check_proxy, needs=("url",), advice="check the proxy variables"),
    Check(
        "dns",
        network_checks.check_dns,
        needs=("proxy",),
        advice="check the DNS servers of this machine",
    ),
    Check(
        "tcp",
        network_checks.check_tcp,
        needs=("dns",),
        advice="a firewall may drop the packets: let this machine connect to it",
    ),
    Check(
        "tls",
        network_checks.check_tls,
        needs=("tcp",),
        advice="check what stands between you and the API",
    ),
    Check(
        "clock",
        network_checks.check_clock,
        needs=("tls",),
        advice="the API, or what stands before it, does not answer: try again in a minute",
    ),
    Check(
        "login",
        network_checks.check_login,
        needs=("credentials", "tls"),
        advice="Connect does not answer: try again in a minute",
    ),
    Check(
        "bearer",
        network_checks.check_bearer,
        needs=("login",),
        advice="the API does not answer: try again in a minute",
    ),
    Check(
        "store", local_checks.check_store, advice="check the disk, or the network, that it is on"
    ),
    Check("versions", local_checks.check_versions, advice="check the file system of the packages"),
)


async def examine(
    case: Case, checks: Iterable[Check] = CHECKS, begin: Callable[[str], object] = lambda _: None
) -> AsyncGenerator[Finding]:
    """Make *checks* one after the other, calling *begin* with the name of each, and yield what they find."""
    failed: dict[str, str] = {}
    for check in checks:
        begin(check.name)
        cause = next((failed[name] for name in check.needs if name in failed), None)
        if cause is None:
            finding = await _run(check, case)
        else:
            finding = Finding(State.SKIPPED, f"not tried, because {cause} failed")
        if not finding.is_sound:
            failed[check.name] = cause or check.name
        yield attrs.evolve(finding, name=check.name)


async def _run(check: Check, case: Case) -> Finding:
    finding = Finding(State.UNAVAILABLE, f"no result within {case.seconds:g} s")
    with anyio.move_on_after(case.seconds):
        try:
            finding = await check.run(case)
        except ConfigurationError as cause:
            finding = finding_of(cause, State.MISCONFIGURED)
        except Exception as cause:  # noqa: BLE001 - its text may be secret, and the other checks go on
            finding = Finding(State.UNAVAILABLE, f"it failed: {describe_network_error(cause)}")
    if finding.exit_code and not finding.advice:
        return attrs.evolve(finding, advice=check.advice)
    return finding
