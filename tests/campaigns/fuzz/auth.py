"""Whole answers of token endpoints and resources, through `TaxizerAuth`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import httpx

from taxizer_async import Credentials, Event, RenewalPolicy, TaxizerAuth
from taxizer_async.testing import ManualClock
from tests.campaigns.fuzz.campaign import Feed, Target
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.headers import NOW
from tests.campaigns.fuzz.plain_httpx import generators_may_be_left
from tests.campaigns.fuzz.replies import Reply, Server, challenged, good_reply, reply
from tests.campaigns.fuzz.verdict import CANARY, judge, kind_of, require, shows_canary


#: A resource.
_URL: Final = "https://api.example/v1/Invoices"

_PAIR: Final = Credentials("app", CANARY)
_GOOD: Final = good_reply(Draw(0))
_FINE: Final = Reply(packed=_GOOD.packed, chunks=(b"fine",))
_POLICY: Final = RenewalPolicy()
#: The policy for answers that never end.
_HASTE: Final = RenewalPolicy(attempt_timeout=0.02, connect_timeout=0.02, exchange_timeout=0.2)
#: On a busy machine even a good answer may take longer, so it is asked for so often.
_HASTY_TRIES: Final = 8
#: Seconds after which no failure is remembered.
_LATER: Final = 600.0
#: The outcome of a request that fails without the package, too.
_RESOURCES_OWN: Final = "the resource's own"
_STEPS: Final = (0.0, 0.0, 0.5, 2.0, 31.0, 3_000.0, 40_000.0)
#: The share of inputs that end with a plain request, which must work.
_RECOVERIES: Final = 0.3


@attrs.frozen(kw_only=True)
class _Story:
    """
    A few requests of one auth object.

    Attributes:
        tokens: The answers of the token endpoints.
        resources: The answers of the API.
        waits: The seconds that pass before each request.
        streams: Whether the requests' bodies can be sent only once.
        recovers: Whether both answer well in the end.
    """

    tokens: tuple[Reply, ...]
    resources: tuple[Reply, ...]
    waits: tuple[float, ...]
    streams: bool
    recovers: bool

    @property
    def policy(self) -> RenewalPolicy:
        """The policy: a hasty one if something hangs."""
        return _HASTE if any(each.hangs for each in self.tokens) else _POLICY


def _draw_story(draw: Draw) -> _Story:
    return _Story(
        tokens=tuple(
            good_reply(draw) if draw.chance(0.4) else reply(draw) for _ in range(draw.few())
        ),
        resources=tuple(_resource(draw) for _ in range(draw.few())),
        waits=tuple(draw.pick(_STEPS) for _ in range(draw.few())),
        streams=draw.chance(0.1),
        recovers=draw.chance(_RECOVERIES),
    )


def _resource(draw: Draw) -> Reply:
    given = challenged(draw) if draw.chance(0.6) else reply(draw)
    while given.packed.is_bomb:  # httpx inflates a resource's body, however long it takes
        given = reply(draw)
    # Against a hanging resource the user has timeouts.
    return attrs.evolve(given, hangs=False)


async def _feed_story(story: _Story) -> str:
    clock, heard = ManualClock(start=NOW, autojump=True), list["Event"]()
    tokens, resources = Server(*story.tokens), Server(*story.resources)
    auth = TaxizerAuth(
        _PAIR,
        base_url="https://api.example",
        http_client=lambda: httpx.AsyncClient(transport=tokens, trust_env=False),
        policy=story.policy,
        on_event=heard.append,
        clock=clock,
    )
    kinds = []
    async with httpx.AsyncClient(transport=resources, auth=auth, trust_env=False) as client:
        for wait in story.waits:
            clock.advance(wait)
            # httpx refuses to send a cookie that is not ASCII.
            client.cookies.clear()
            kinds.append(await _send(client, resources, streams=story.streams))
            await auth.events_delivered()
            require(not shows_canary(auth.status(), auth, heard), "no secret is shown")
    require(tokens.stopped_in_time, f"a body is not read on, as {tokens.pulled:,} bytes were")
    if story.recovers:
        tokens.answer_with(_GOOD)
        async with httpx.AsyncClient(transport=Server(_FINE), auth=auth, trust_env=False) as client:
            await _works_again(client, clock, hasty=story.policy is _HASTE)
    return kinds[-1]


async def _send(client: httpx.AsyncClient, resources: Server, *, streams: bool) -> str:
    content = _once() if streams else b"{}"
    try:
        response = await client.post(_URL, content=content)
    except Exception as error:  # noqa: BLE001 - judged
        if resources.asked and type(error) is await _plain_error(resources.last):
            return _RESOURCES_OWN
        return judge(error)
    return _kind(response)


def _kind(response: httpx.Response) -> str:
    """Return the kind of answer that the user gets."""
    return "401" if response.status_code == httpx.codes.UNAUTHORIZED else "another status"


async def _plain_error(given: Reply) -> type[Exception] | None:
    """Return the class of the error that the answer causes without an auth; None if there is none."""
    async with httpx.AsyncClient(transport=Server(given), trust_env=False) as client:
        try:
            await client.post(_URL, content=b"{}")
        except Exception as error:  # noqa: BLE001 - whatever it is
            return type(error)
    return None


async def _works_again(client: httpx.AsyncClient, clock: ManualClock, *, hasty: bool) -> None:
    """Check that a request of *client* works once no failure is remembered."""
    kind = ""
    for _ in range(_HASTY_TRIES if hasty else 1):
        clock.advance(_LATER)
        kind = await kind_of(client.post(_URL, content=b"{}"))
        if kind == "ok":
            return
    require(False, f"a plain request works again, and does not end in {kind}")


async def _once() -> AsyncIterator[bytes]:
    yield b"{}"


@contextmanager
def _start() -> Iterator[Feed]:
    with generators_may_be_left():
        yield _feed_story


AUTH: Final = (
    Target(
        "auth",
        0.11,
        _draw_story,
        _start,
        {
            *("401", "another status", "CredentialsRejectedError", "TokenResponseError"),
            "TokenEndpointUnavailableError",
        },
        on_loop=True,
    ),
)
