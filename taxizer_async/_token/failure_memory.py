"""What one provider does with failures: it remembers and reports them, and takes over those of others."""

from __future__ import annotations

from typing import final

import attrs

from taxizer_async._core.clock import Clock
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import ExchangeFailed, ExchangeKind
from taxizer_async._core.exchange import Misconfigured, Refused
from taxizer_async._core.models import Credentials
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.failures import Cause, Failure
from taxizer_async._token.renewal_request import Endpoints, Progress
from taxizer_async._token.shared_failures import is_answer, kind_and_text, pair_name
from taxizer_async.stores import FailureRecord


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class FailureMemory:
    """Makes failures for one provider; *recheck*, if a callable may return other credentials the next time."""

    endpoints: Endpoints
    cache: TokenCache
    policy: RenewalPolicy
    clock: Clock
    event_log: EventLog
    recheck: bool

    def fail(
        self,
        cause: Cause,
        *,
        rejected: Credentials | None = None,
        kind: ExchangeKind | None = None,
        elapsed: float = 0.0,
    ) -> Failure:
        """Remember that there is no new token, and report it; *kind* was asked, if anything was."""
        failure = self.cache.record_failure(
            cause,
            endpoint=self.endpoints.refresh if kind == "refresh" else self.endpoints.connect,
            rejected=rejected,
            recheck=self.recheck,
        )
        # A misconfigured http_client sent nothing.
        self._report(failure, None if isinstance(cause, Misconfigured) else kind, elapsed)
        return failure

    def fail_to_connect(self, progress: Progress, cause: Cause) -> Failure:
        """Fail with *cause*, which the last attempt at Connect came to."""
        now = self.clock.monotonic()
        return self.fail(
            cause,
            rejected=progress.credentials if isinstance(cause, Refused) else None,
            kind="connect",
            elapsed=now - (now if progress.began is None else progress.began),
        )

    def known_refusal(
        self, credentials: Credentials, shared: FailureRecord | None
    ) -> Failure | None:
        """Return the failure that these *credentials* were refused with, here or, if *shared* is it, elsewhere."""
        known = self.cache.rejection_of(credentials)
        if known is not None:
            return self.cache.extend_rejection(known)
        if shared is None or shared.pair != pair_name(credentials, self.endpoints.base_url):
            return None
        return self.adopt(shared, credentials)

    def adopt(self, record: FailureRecord, rejected: Credentials | None = None) -> Failure:
        """Fail as another client of the store did; *rejected* are the credentials, if they were refused."""
        if record.endpoint == self.endpoints.refresh:
            self.cache.pass_over_refresh(self.policy.refresh_passed_over)
        failure = self.cache.adopt_failure(record, rejected=rejected, recheck=self.recheck)
        self._report(failure, None, 0.0)
        return failure

    def record(self, failure: Failure) -> FailureRecord | None:
        """Return the record of *failure* for the store; None if only this machine may have seen it."""
        cause, rejected = failure.cause, failure.rejected
        if not is_answer(cause):
            return None
        kind, text = kind_and_text(cause)
        until = failure.until if rejected is None else failure.rejected_until
        return FailureRecord(
            kind=kind,
            endpoint=failure.endpoint,
            status_code=cause.status_code or 0,
            text=text,
            pair=None if rejected is None else pair_name(rejected, self.endpoints.base_url),
            failures=self.cache.state.failures,
            ahead_of_need=failure.ahead_of_need,
            remaining=until - self.clock.monotonic(),
        )

    def _report(self, failure: Failure, kind: ExchangeKind | None, elapsed: float) -> None:
        cached = self.cache.alive()
        self.event_log.emit(
            ExchangeFailed(
                reason=failure.describe(),
                status_code=failure.status_code,
                retry_at=failure.retry_at_utc,
                ahead_of_need=failure.ahead_of_need,
                kind=kind,
                elapsed=elapsed,
                error=failure.error_name,
                expires_in=None if cached is None else cached.expires_in(self.clock),
            )
        )
