"""
A worker process of the demo, as a program: it takes an order, sends its share, and tells how far it is.

The order is the first line of stdin, so that its secret is in no argument; a second line is the start.
What is told goes to stdout, a line of JSON each, and it ends once nobody listens.
"""

from __future__ import annotations

import json
import sys

from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import attrs

from taxizer_async._cli.demo.load import Crowd, Outcome, Share, Tally
from taxizer_async._cli.store_config import StoreChoice, StoreKind, closing
from taxizer_async._core.models import Credentials
from taxizer_async._core.secret import Secret


if TYPE_CHECKING:
    from taxizer_async.stores import TokenStore


#: Seconds between two lines on the progress.
_TELL_EVERY: Final = 0.02


@attrs.frozen(kw_only=True)
class Order:
    """
    What a worker does.

    Attributes:
        share: How many requests it sends, and how.
        credentials: For the login.
        base_url: Where they go.
        store: Where the token is shared.
        backend: The event loop to run on.
    """

    share: Share
    credentials: Credentials
    base_url: str
    store: StoreChoice
    backend: str

    def encode(self) -> bytes:
        """Return a line that `decode` reads."""
        url = self.store.redis_url
        content = {
            "share": attrs.asdict(self.share),
            "client_id": self.credentials.client_id,
            "client_secret": self.credentials.client_secret.reveal(),
            "base_url": self.base_url,
            "kind": self.store.kind,
            "path": self.store.path,
            "redis_url": None if url is None else url.reveal(),
            "backend": self.backend,
        }
        return f"{json.dumps(content)}\n".encode()

    @classmethod
    def decode(cls, line: str) -> Self:
        """Read what `encode` wrote."""
        content: dict[str, Any] = json.loads(line)
        url = content["redis_url"]
        return cls(
            share=Share(**content["share"]),
            credentials=Credentials(content["client_id"], content["client_secret"]),
            base_url=content["base_url"],
            store=StoreChoice(
                kind=StoreKind(content["kind"]),
                path=content["path"],
                redis_url=None if url is None else Secret(url),
            ),
            backend=content["backend"],
        )


def decode_news(line: bytes) -> Tally | Outcome:
    """Read a line that a worker told: the last one is the outcome."""
    kind, fields = json.loads(line)
    if kind == Tally.__name__:
        return Tally(**fields)
    fields["failures"] = tuple((reason, number) for reason, number in fields["failures"])
    fields["latencies"] = tuple(fields["latencies"])
    return Outcome(**fields)


def main() -> None:
    """Obey one order."""
    line = sys.stdin.readline()
    if not line:
        return
    order = Order.decode(line)
    store = order.store.make()
    crowd = Crowd(order.share, order.credentials, order.base_url, store)
    # All is loaded: whoever hears this may start the clock.
    _tell(crowd.tally)
    if not sys.stdin.readline():
        return
    anyio.run(_work, crowd, store, backend=order.backend)


async def _work(crowd: Crowd, store: TokenStore) -> None:
    async with closing(store), anyio.create_task_group() as tasks:
        tasks.start_soon(_tell_progress, crowd)
        (outcome,) = await crowd.run(lambda: None)
        _tell(outcome)
        tasks.cancel_scope.cancel()


async def _tell_progress(crowd: Crowd) -> None:
    told = Tally()
    while True:
        await anyio.sleep(_TELL_EVERY)
        if crowd.tally != told:
            told = crowd.tally
            _tell(told)


def _tell(news: Tally | Outcome) -> None:
    sys.stdout.write(f"{json.dumps([type(news).__name__, attrs.asdict(news)])}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
