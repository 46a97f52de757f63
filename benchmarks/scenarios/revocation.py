"""What happens when the server refuses a token that many requests in flight carry."""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio
import attrs

from benchmarks.bench import Scale, Tally, at_once, opened, succeed
from benchmarks.field import FIELD, OWN, PEERS
from benchmarks.figures import Sample, rotated
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, spread
from benchmarks.service import Service


IN_FLIGHT: Final = 500
#: Seconds until the server looks at a request: when it refuses the first one, all others carry the token,
#: even those that wait for a connection.
_RESOURCE: Final = 0.02
_CONNECTIONS: Final = 20
_PEERS: Final = {one.name: one for one in FIELD if one.kind != "floor"}


@attrs.frozen(kw_only=True)
class Result:
    """Seconds with a revocation and without (*calm*), exchanges, and failed requests."""

    wall: float
    calm: float
    exchanges: int
    failed: int


def run(scale: Scale) -> Section:
    """Run the scenario."""
    size = scale.of(IN_FLIGHT)
    found = anyio.run(_measure, scale, size)
    rows = tuple(
        (
            name,
            f"{max(result.exchanges for result in results)}",
            f"{max(result.failed for result in results)}",
            spread(Sample([result.wall * 1000 for result in results]), 0),
            spread(Sample([result.calm * 1000 for result in results]), 0),
        )
        for name, results in found.items()
    )
    own = found[OWN]
    return Section(
        name="revocation",
        title="Revocation: requests in flight",
        about=(
            f"{size} requests are sent with a token that the server has just revoked; a renewal takes "
            f"{scale.login * 1000:.0f} ms. The calm run is the same without a revocation. Failed is what came "
            "back to its caller as a 401."
        ),
        tables=(
            Table(
                f"{size} requests at once",
                ("contender", "exchanges", "failed", "ms", "calm, ms"),
                rows,
            ),
        ),
        claims=(
            Claim(f"renewals after {IN_FLIGHT} 401s", max(one.exchanges for one in own), 1),
            Claim(
                f"of {IN_FLIGHT} requests with a revoked token, failed",
                max(one.failed for one in own),
                0,
            ),
        ),
        summary=(
            Row(
                f"{IN_FLIGHT} requests with a token that was revoked: logins and renewals; failed",
                {
                    name: f"{max(one.exchanges for one in results)}; "
                    f"{max(one.failed for one in results)}"
                    for name, results in found.items()
                },
            ),
        ),
        remarks=(
            peers_ahead(
                {
                    name: Sample([result.wall for result in results])
                    for name, results in found.items()
                },
                OWN,
                PEERS,
                "Authlib, httpx-auth and azure-core return the 401s to their caller, which is quick. The HTTP "
                "library counts as well: the table has the same over httpx2 and aiohttp.",
            ),
            (
                "azure-core drops the token, so the next request logs in; the other two go on "
                "with the refused one until it would have expired."
            ),
            (
                "The hand-written lock is careful: it compares the refused token with the current one. "
                "Otherwise it would log in once per 401."
            ),
        ),
    )


async def _measure(scale: Scale, size: int) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {name: [] for name in _PEERS}
    with Service() as service:
        for number in range(scale.rounds):
            for name in rotated(list(_PEERS), number):
                found[name].append(await _measure_one(service, name, size, scale.login))
    return found


async def _measure_one(service: Service, name: str, size: int, login: float) -> Result:
    # Set up anew, as some go on with a refused token, and others renew only so often.
    async with opened(
        service,
        _PEERS[name],
        connections=_CONNECTIONS,
        refresh_latency=login,
        connect_latency=login,
    ) as one:
        one.site.set(resource_latency=_RESOURCE)
        await at_once(partial(succeed, one.session), _CONNECTIONS)
        calm = await at_once(partial(succeed, one.session), size)
        one.site.revoke()
        one.site.reset()
        tally = Tally()
        result = await at_once(partial(tally.count, one.session), size)
        return Result(
            wall=result.wall,
            calm=calm.wall,
            exchanges=one.site.counters()["exchanges"],
            failed=tally.failed,
        )
