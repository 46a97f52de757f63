"""What Sentry's SDK reports, as a program: it prints each event, transaction and log as its server would get it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from typing import TYPE_CHECKING, Any, Final

import httpx
import sentry_sdk

from celery import Celery
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.transport import Transport

from taxizer_async import AuthError, Credentials, RenewalPolicy, TaxizerAuth, TaxizerClient
from tests.integrations.python.life import PATH, make_store
from tests.support.canaries import ECHO, SECRET


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async import Event


SAID: Final = f"{SECRET} and {ECHO}"
#: What goes wrong with a login or a renewal, as the sandbox's control has it.
FAULTS: Final = (
    {"kind": "answer", "code": 400, "body": SAID, "content_type": "text/plain"},
    {"kind": "answer", "code": 500, "body": SAID},
    {"kind": "answer", "code": 200, "body": f'{{"jwtToken": "{SAID}'},
    {"kind": "reset"},
)
POLICY: Final = RenewalPolicy(backoff=60.0, outage_backoff=0.01, outage_backoff_limit=0.01)

tasks = Celery("tasks", set_as_current=False)
tasks.conf.update(task_always_eager=True)


class Printer(Transport):  # type: ignore[misc]
    """Prints what it is to send."""

    def capture_envelope(self, envelope: Any) -> None:
        for item in envelope.items:
            print(item.headers.get("type"), item.payload.get_bytes().decode(), flush=True)  # noqa: T201


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Report an error of ours or of httpx's, with the variables of each frame."""
    try:
        yield
    except (AuthError, httpx.HTTPError) as problem:
        sentry_sdk.capture_exception(problem)
        print(f"REPORTED {type(problem).__name__}")  # noqa: T201


@tasks.task(name="submit")  # type: ignore[untyped-decorator]
def submit(base_url: str) -> None:
    """Fail, as a task may."""
    TaxizerAuth(Credentials.from_env, base_url=base_url, policy=POLICY).sync_token()


def listen(_: Event) -> None:
    """Fail, as a listener may."""
    raise ZeroDivisionError


async def live(base_url: str) -> None:
    """Take a client through all that can be reported."""
    store = make_store()
    options: Any = {"base_url": base_url, "store": store, "policy": POLICY}
    async with (
        TaxizerClient(Credentials.from_env, on_event=listen, **options) as client,
        httpx.AsyncClient(base_url=f"{base_url}/_sandbox/", trust_env=False) as control,
    ):

        async def tell(what: str, **details: Any) -> None:
            (await control.post(what, json=details)).raise_for_status()

        with sentry_sdk.start_transaction(name="good"):
            await client.post(PATH, json={})
            await tell("revoke")
            await client.post(PATH, json={})
            sentry_sdk.capture_message("seen", "error")
        for number in range(len(FAULTS)):
            with sentry_sdk.start_transaction(name="bad"):
                await _fail(client, tell, number)
        await client.auth.token()
        await tell("fail", where="resource", kind="reset")
        with reported():
            await client.post(PATH, json={})
        await client.auth.events_delivered()
    close = getattr(store, "aclose", None)
    if close is not None:
        await close()


async def _fail(client: TaxizerClient, tell: Any, number: int) -> None:
    for where in ("connect", "refresh"):
        await tell("fail", where=where, **FAULTS[number])
    await tell("revoke")
    auth = TaxizerAuth(Credentials.from_env, base_url=client.auth.base_url, policy=POLICY)
    with reported():
        await client.post(PATH, json={})
    with reported():
        await auth.token()
    thread = threading.Thread(target=_ask, args=[auth])
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110 - a thread
        await asyncio.sleep(0.01)
    await tell("heal")
    await client.auth.forget()


def _ask(auth: TaxizerAuth) -> None:
    with reported():
        auth.sync_token()


def main() -> None:
    """Live with all integrations, and with all that they may record."""
    sentry_sdk.init(
        dsn="http://key@localhost/1",
        transport=Printer,
        integrations=[AsyncioIntegration()],
        traces_sample_rate=1.0,
        send_default_pii=True,
        attach_stacktrace=True,
        enable_logs=True,
        max_request_body_size="always",
        max_value_length=1_000_000,
    )
    base_url = os.environ["TAXIZER_BASE_URL"]
    asyncio.run(live(base_url))
    httpx.post(
        f"{base_url}/_sandbox/fail", json={"where": "connect", "kind": "answer", "code": 500}
    ).raise_for_status()
    with contextlib.suppress(AuthError):
        submit.apply(args=[base_url]).get()
    sentry_sdk.flush()


if __name__ == "__main__":
    main()
