"""Servers to ask, and exchanges that ask them."""

from __future__ import annotations

import contextlib

from typing import TYPE_CHECKING, Any, final

import anyio
import anyio.lowlevel
import pytest

from taxizer_async import Credentials, RenewalPolicy
from taxizer_async._auth import HTTPX
from taxizer_async._base_url import parse_base_url
from taxizer_async._clock import SystemClock
from taxizer_async._exchange import HttpExchange
from taxizer_async._models import Secret
from taxizer_async._outcomes import Effort, Issued, Outcome

from .raw_server import RawServer


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from taxizer_async._http_library import HttpLibrary
    from taxizer_async.testing import Sandbox

    from .raw_server import Script


PAIR = Credentials("sandbox-client", "sandbox-secret")


@final
class HastyClock:
    """The machine's clock, but a sleep takes no time and is noted; *ahead* shifts the wall clock."""

    def __init__(self, *, ahead: float = 0.0) -> None:
        self.slept: list[float] = []
        self._ahead = ahead

    monotonic = staticmethod(SystemClock.monotonic)

    def wall(self) -> float:
        return SystemClock.wall() + self._ahead

    async def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        await anyio.lowlevel.checkpoint()


@final
class Asker:
    """Makes the two calls at one server, and keeps what is handed over."""

    def __init__(
        self,
        base_url: str,
        *,
        http_client: Callable[[], httpx.AsyncClient] | None = None,
        library: HttpLibrary = HTTPX,
        ahead: float = 0.0,
        jitter: float = 0.0,
        **policy: Any,
    ) -> None:
        self.clock = HastyClock(ahead=ahead)
        self.received: list[Issued] = []
        self.exchange = HttpExchange(
            base_url=parse_base_url(base_url),
            policy=RenewalPolicy(**policy),
            clock=self.clock,
            random=lambda: jitter,
            library=library,
            http_client=http_client,
        )

    async def connect(
        self,
        credentials: Credentials = PAIR,
        *,
        attempts: int = 4,
        seconds: float = 30.0,
    ) -> Outcome:
        effort = Effort(attempts=attempts, deadline=anyio.current_time() + seconds)
        return await self.exchange.connect(credentials, effort, self.received.append)

    async def refresh(
        self, refresh_token: str = "r-1", *, attempts: int = 4, seconds: float = 30.0
    ) -> Outcome:
        effort = Effort(attempts=attempts, deadline=anyio.current_time() + seconds)
        return await self.exchange.refresh(Secret(refresh_token), effort, self.received.append)


@pytest.fixture(name="asker")
def _asker(sandbox: Sandbox) -> Asker:
    return Asker(sandbox.base_url)


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., RawServer]]:
    with contextlib.ExitStack() as servers:

        def serve(*scripts: Script, **options: Any) -> RawServer:
            return servers.enter_context(RawServer(*scripts, **options))

        yield serve
