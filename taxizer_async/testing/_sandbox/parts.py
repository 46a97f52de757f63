"""What a sandbox is made of, and what can be done to it."""

from __future__ import annotations

from typing import Protocol, final

import attrs

from taxizer_async.testing._sandbox.events import EventLog
from taxizer_async.testing._sandbox.faults import Fault, FaultPlan
from taxizer_async.testing._sandbox.recorder import Recorder
from taxizer_async.testing._sandbox.tokens import Settings, TokenIssuer


class Controlled(Settings, Protocol):
    """What settings may change, and what can be done to it; see `Sandbox`."""

    def fail(self, where: str, fault: Fault, *, times: int | None = None) -> None: ...

    def heal(self, where: str | None = None) -> None: ...

    def revoke(self) -> None: ...

    def revoke_refresh_tokens(self) -> None: ...

    def expire(self, seconds: float = 0.0) -> None: ...

    def reset_counters(self) -> None: ...

    def reset(self) -> None: ...


@final
@attrs.frozen(kw_only=True)
class Parts:
    """What serves the contract, and what the state is read from."""

    sandbox: Controlled
    recorder: Recorder
    issuer: TokenIssuer
    fault_plan: FaultPlan
    events: EventLog
