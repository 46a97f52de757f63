"""The sandbox: its settings, controls and observations. How it serves a request is in `app`."""

from __future__ import annotations

import hmac
import threading

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Self, final

import anyio
import anyio.to_thread
import attrs

from taxizer_async._core.models import Credentials
from taxizer_async._core.secret import Secret
from taxizer_async.testing._sandbox.app import SandboxApp
from taxizer_async.testing._sandbox.control.bodies import SETTINGS
from taxizer_async.testing._sandbox.events import EventLog
from taxizer_async.testing._sandbox.faults import Fault, FaultPlan
from taxizer_async.testing._sandbox.gate import Gate
from taxizer_async.testing._sandbox.parts import Parts
from taxizer_async.testing._sandbox.recorder import (
    ExchangeEntry,
    Recorder,
    ResourceEntry,
    SandboxCounters,
)
from taxizer_async.testing._sandbox.tokens import TIMESTAMP_STYLES, TimestampStyle, TokenIssuer


if TYPE_CHECKING:
    from taxizer_async.testing._sandbox.server import ServerThread


def _tell(sandbox: Sandbox, attribute: attrs.Attribute[object], value: object) -> object:
    if attribute.name in SETTINGS and value != getattr(sandbox, attribute.name):
        sandbox._parts.events.add("setting", name=attribute.name, value=value)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module
    return value


@final
@attrs.define(
    eq=False,
    repr=False,
    kw_only=True,
    on_setattr=[attrs.setters.convert, attrs.setters.validate, _tell],
)
class Sandbox:
    """
    A real HTTP server on loopback that speaks the documented contract of Taxizer auth.

    It runs in its own thread and event loop between `start` and `stop`, or within a `with` or
    `async with`. All attributes but *port* may be set while it runs, in any thread.

    Each path under `/v1` is a resource that requires a good JWT, whatever the method. `/v1/echo`
    answers with the request's headers and the clientId of its token, `/v1/redirect?to=URL&status=302` redirects, `/v1/stream`
    never ends.

    A browser shows it at `/`, and programs in any language drive it below `/_sandbox/`, which
    `/_sandbox/openapi.json` describes. None of this is counted, and no fault concerns it.

    Attributes:
        port: TCP port; 0 picks a free one at the first `start`, and keeps it.
        client_id: The accepted clientId; its secret is the argument *client_secret*.
        accounts: Further clientIds that are accepted, each with its secret.
        lifetime: Seconds that a JWT lives; with 0 or less it looks expired, but is good for 1 h.
        refresh_lifetime: Seconds that a refresh token lives.
        connect_latency: Seconds before Connect looks at a request.
        refresh_latency: Seconds before AppRefreshToken looks at a request.
        resource_latency: Seconds before any other path looks at a request.
        clock_offset: Seconds that the server's clock is ahead of the real one; it shifts the
            timestamps and the Date header, not the lives of tokens.
        timestamp_style: How `…ExpireAtUTC` is written; with unset, null or missing a JWT is good for 1 h.
        rotate: Whether a refresh spends its refresh token and issues a new one.
        reuse_detection: Whether the reuse of a spent refresh token revokes all tokens.
        send_date: Whether answers carry a Date header.
        refusal_status: The status of the answer to a refused refresh token.
    """

    port: int = 0
    client_id: str = "sandbox-client"
    _client_secret: str | Secret = attrs.field(default="sandbox-secret", alias="client_secret")
    accounts: Mapping[str, str | Secret] = attrs.field(factory=dict[str, str | Secret])
    lifetime: float = 900.0
    refresh_lifetime: float = 86400.0
    connect_latency: float = 0.0
    refresh_latency: float = 0.0
    resource_latency: float = 0.0
    clock_offset: float = 0.0
    timestamp_style: TimestampStyle = attrs.field(
        default="iso-z-ms", validator=attrs.validators.in_(TIMESTAMP_STYLES)
    )
    rotate: bool = True
    reuse_detection: bool = True
    send_date: bool = True
    refusal_status: int = 400

    _parts: Parts = attrs.field(init=False)
    _at_first: dict[str, object] = attrs.field(init=False)
    _server: ServerThread | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        lock = threading.RLock()
        recorder = Recorder(lock)
        self._parts = Parts(
            sandbox=self,
            recorder=recorder,
            issuer=TokenIssuer(self, lock, recorder.reuse),
            fault_plan=FaultPlan(),
            events=EventLog(),
        )
        self._at_first = {name: getattr(self, name) for name in SETTINGS}

    def __repr__(self) -> str:
        state = "running" if self._server else "stopped"
        return f"<Sandbox 127.0.0.1:{self.port} {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)

    def start(self) -> None:
        """
        Start to serve. Tokens, faults and counts of an earlier run are still there.

        Raises:
            RuntimeError: If it is already running.
            ImportError: If the extra `sandbox` is not installed.
            OSError: If the port can't be used.
        """
        if self._server is not None:
            msg = f"{self!r} runs already"
            raise RuntimeError(msg)
        # Imported here, as the rest of `testing` needs no server.
        from taxizer_async.testing._sandbox.server import ServerThread  # noqa: PLC0415

        server = ServerThread(SandboxApp(self._parts), self.port)
        server.start()
        self._server, self.port = server, server.port

    def stop(self) -> None:
        """Close the port and all connections, and end all requests; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    @property
    def base_url(self) -> str:
        """Where it serves; RuntimeError before the first start, unless the port is fixed."""
        if self.port == 0:
            msg = "the sandbox has no port before it is started"
            raise RuntimeError(msg)
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> Credentials:
        """The credentials that Connect accepts now."""
        return Credentials(self.client_id, self._client_secret)

    def accepts(self, client_id: str, client_secret: str) -> bool:
        """Return whether Connect accepts that pair now."""
        is_own = client_id == self.client_id
        secret = self._client_secret if is_own else self.accounts.get(client_id)
        if secret is None:
            return False
        known = Secret(secret) if isinstance(secret, str) else secret
        # JSON may hold half a surrogate pair.
        pair = (each.encode("utf-8", "surrogatepass") for each in (known.reveal(), client_secret))
        return hmac.compare_digest(*pair)

    def change_secret(self, new_secret: str | Secret) -> None:
        """Accept *new_secret* instead of the old one; tokens issued so far stay good."""
        self._client_secret = new_secret

    def revoke(self) -> None:
        """Refuse every JWT issued so far; refresh tokens still work."""
        self._parts.issuer.revoke_jwts()
        self._parts.events.add("revoke", tokens="jwts")

    def revoke_refresh_tokens(self) -> None:
        """Refuse every refresh token issued so far; JWTs still work."""
        self._parts.issuer.revoke_refresh_tokens()
        self._parts.events.add("revoke", tokens="refresh_tokens")

    def expire(self, seconds: float = 0.0) -> None:
        """Let every JWT issued so far live *seconds* more at most; refresh tokens still work."""
        self._parts.issuer.expire_jwts(seconds)
        self._parts.events.add("expire", seconds=seconds)

    def fail(self, where: str, fault: Fault, *, times: int | None = None) -> None:
        """
        Let the next *times* requests to *where* meet *fault*; by default all of them until `heal`.

        *where* is "connect", "refresh", "resource" (all other paths) or an exact path, which has
        precedence. The faults of a place follow each other in the order of the calls; one without
        *times* lasts until the next call.

        Raises:
            ValueError: If *where* is not a place, or *times* is not positive.
        """
        self._parts.fault_plan.fail(where, fault, times)
        code = fault.code if fault.kind == "answer" else None
        self._parts.events.add("fail", where=where, fault=fault.kind, code=code, times=times)

    def heal(self, where: str | None = None) -> None:
        """
        Drop all faults of *where* (None: everywhere), and let requests go on that hang there.

        Raises:
            ValueError: If *where* is not a place (see `fail`).
        """
        self._parts.fault_plan.heal(where)
        self._parts.events.add("heal", where=where)

    def hold(self, where: str) -> Gate:
        """
        Hold back requests to *where* (see `fail`); they are counted, but not processed.

        Raises:
            ValueError: If *where* is not a place.
        """
        return self._parts.fault_plan.hold(where)

    @property
    def counters(self) -> SandboxCounters:
        """What it has counted so far, as a snapshot."""
        return self._parts.recorder.snapshot()

    def reset_counters(self) -> None:
        """Set the counters to 0, and empty the logs."""
        self._parts.recorder.reset()
        self._parts.events.add("reset", what="counters")

    def reset(self) -> None:
        """Heal everything, go back to the settings of the start, and count from 0; tokens stay good."""
        self._parts.fault_plan.heal(None)
        for name, value in self._at_first.items():
            setattr(self, name, value)
        self._parts.recorder.reset()
        self._parts.events.add("reset", what="everything")

    @property
    def exchange_log(self) -> tuple[ExchangeEntry, ...]:
        """The latest 20,000 requests to the auth endpoints, in the order they finished."""
        return self._parts.recorder.exchange_log

    @property
    def resource_log(self) -> tuple[ResourceEntry, ...]:
        """The latest 20,000 other requests (64 MiB of bodies), in the order they finished."""
        return self._parts.recorder.resource_log

    @property
    def issued_jwts(self) -> tuple[str, ...]:
        """Every JWT issued so far, in order."""
        return self._parts.issuer.issued_jwts

    @property
    def issued_refresh_tokens(self) -> tuple[str, ...]:
        """Every refresh token issued so far, in order."""
        return self._parts.issuer.issued_refresh_tokens

    def wait_until(
        self, predicate: Callable[[SandboxCounters], bool], timeout: float = 30.0
    ) -> None:
        """
        Block this thread until *predicate* holds for the counters, for at most *timeout* seconds.

        Raises:
            TimeoutError: If it did not hold in time.
        """
        self._parts.recorder.wait_until(predicate, timeout)

    async def wait_until_async(
        self,
        predicate: Callable[[SandboxCounters], bool],
        timeout: float = 30.0,  # noqa: ASYNC109 - the twin's
    ) -> None:
        """
        Wait until *predicate*, called in a worker thread, holds, for at most *timeout* seconds.

        Raises:
            TimeoutError: If it did not hold in time.
        """
        await anyio.to_thread.run_sync(
            partial(self.wait_until, predicate, timeout), abandon_on_cancel=True
        )
