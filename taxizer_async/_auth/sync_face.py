"""
The sync face of an auth: `httpx.Client` and other callers without an event loop.

The rules are those of the async face, and so is the code: a request is an `AuthFlow` whose three waits
block the thread, and what they wait for runs in the helper thread of the process. With a fresh token none
of this is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, final
from weakref import ref

import anyio

from taxizer_async._auth.bearer import Bearer
from taxizer_async._auth.flow import AuthFlow
from taxizer_async._core.errors import TokenEndpointUnavailableError
from taxizer_async._core.event_loops import running_loop
from taxizer_async._core.helper_loop import BlockedError, Call, HelperLoop
from taxizer_async._core.helper_thread import call_and_wait, submit
from taxizer_async._core.models import Token
from taxizer_async._core.policy import Freshness
from taxizer_async._core.threads import NoThreadError
from taxizer_async._http.network_errors import describe_network_error
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.failures import not_cleared
from taxizer_async._token.single_flight import RefreshCoordinator


T = TypeVar("T")


@final
class _CannotWaitError(Exception):
    """Says why a caller cannot wait for what it needs."""

    def error(self) -> TokenEndpointUnavailableError:
        """Return what a caller that needs a token gets."""
        return TokenEndpointUnavailableError(f"no token could be waited for: {self}")


@final
class SyncFace:
    """Does for sync callers what *bearer* does for async ones."""

    __slots__ = ("_ahead", "_bearer", "_owner")

    def __init__(self, bearer: Bearer) -> None:
        self._bearer = bearer
        # What the calls of this account's listeners are made for, too.
        self._owner = bearer.event_log
        # The last renewal ahead of need, which nobody waits for: in a blocked thread they would pile up.
        # Weak: once it has ended, nobody needs it, nor the event loop that it was made in.
        self._ahead: Callable[[], Call[CachedToken] | None] = lambda: None

    def flow(self, request: Any) -> Generator[Any, Any, None]:
        """Yield *request* with a token; after a 401 that is about it, renew it and yield it again."""
        return _driven(_BlockingFlow(self, self._bearer, request), None)

    def answered(
        self, request: Any, cached: CachedToken, sent_at: float, response: Any
    ) -> Generator[Any, Any, None]:
        """Take the response to *request*, which was sent with *cached*; go on as `flow` does."""
        return _driven(_BlockingFlow(self, self._bearer, request, cached, sent_at), response)

    def closed(self, request: Any, cached: CachedToken, sent_at: float) -> None:
        """Take note that there is no response to *request*, which was sent with *cached*."""
        _finished(_BlockingFlow(self, self._bearer, request, cached, sent_at).aclose())

    def token(self) -> Token:
        return (self._bearer.cache.fresh() or self.acquire()).token

    def refused(self, token: Token, place: str) -> Token | None:
        try:
            return self._wait(lambda: self._bearer.provider.refused(token, place))
        except _CannotWaitError:
            other = self._bearer.cache.alive()
            return None if other is None or other.token.jwt == token.jwt else other.token

    def forget(self) -> None:
        provider = self._bearer.provider
        # Here, as there may be no thread to do it in.
        provider.drop()
        try:
            self._wait(provider.forget)
        except _CannotWaitError as cause:
            raise not_cleared(str(cause)) from None

    def acquire(self) -> CachedToken:
        """Return a usable token; ahead of need have it renewed, and do not wait."""
        cache = self._bearer.cache
        cached = cache.alive()
        if cached is not None and cache.freshness() is Freshness.RENEW_AHEAD:
            self._renew_ahead()
            return cached
        try:
            return self._wait(self._bearer.provider.acquire)
        except _CannotWaitError as cause:
            # Nobody has looked whether this token will do.
            cached = cache.alive()
            if cached is None:
                raise cause.error() from None
            return cached

    def _renew_ahead(self) -> None:
        ahead = self._ahead()
        is_under_way = self._coordinator.is_under_way or (ahead is not None and ahead.may_be_made)
        if is_under_way or self._bearer.cache.active_failure():
            return
        with contextlib.suppress(NoThreadError, BlockedError, OSError):
            self._ahead = ref(submit(self._bearer.provider.acquire, self._owner))

    def replacement_for(self, cached: CachedToken) -> CachedToken | None:
        """Do as `Bearer.replacement_for`; a token that has replaced *cached* is not waited for."""
        cache = self._bearer.cache
        found = cache.replacement_for(cached)
        if found is not None:
            return found
        try:
            return self._wait(lambda: self._bearer.replacement_for(cached))
        except _CannotWaitError as cause:
            found = cache.alive()
            if found is None:
                raise cause.error() from None
            return None if found.same_token(cached) else found

    @property
    def _coordinator(self) -> RefreshCoordinator:
        return self._bearer.provider.own_coordinator.get()

    def _wait(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Return what *call* returns; an exception in this thread ends the wait, and no refresh.

        Raises:
            _CannotWaitError: If there is no thread or descriptor to wait with.
            RuntimeError: If the helper thread would wait for itself.
        """
        loops = _running_loops()
        if any(isinstance(loop, HelperLoop) for loop in loops):
            msg = (
                "a sync call on an auth was made in an async function or a listener that a login runs, "
                "and would wait for itself: await the async one"
            )
            raise RuntimeError(msg)
        for loop in loops:
            # What runs in this thread's loop can't end while this thread waits.
            self._coordinator.abandon_in(loop)
        try:
            return call_and_wait(call, self._owner, can_run_here=not loops)
        except NoThreadError:
            problem = "no thread can be started, and this one has an event loop that runs"
        except asyncio.CancelledError:
            problem = "the thread in which that was done has ended"
        except BlockedError:
            problem = (
                "the thread in which that is done is blocked, by an async credentials callable or "
                "listener, an http_client or a store that waits without await"
            )
        except OSError as cause:
            problem = describe_network_error(cause)
        raise _CannotWaitError(problem)


@final
class _BlockingFlow(AuthFlow):
    """A flow whose waits block, so that each of its coroutines ends in one step."""

    __slots__ = ("_face",)

    def __init__(
        self,
        face: SyncFace,
        bearer: Bearer,
        request: Any,
        cached: CachedToken | None = None,
        sent_at: float = 0.0,
    ) -> None:
        super().__init__(bearer, request)
        self._face = face
        self._cached, self._sent_at = cached, sent_at

    async def _acquire(self) -> CachedToken:
        return self._face.acquire()

    async def _replacement_for(self, cached: CachedToken) -> CachedToken | None:
        return self._face.replacement_for(cached)

    async def _free(self, response: Any) -> None:
        # A server that never ends it would keep the thread.
        response.close()
        if not hasattr(response, "_content"):
            response._content = b""  # noqa: SLF001 - the library reads it


def _driven(flow: _BlockingFlow, response: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            request = _finished(flow.asend(response))
        except StopAsyncIteration:
            return
        try:
            response = yield request
        except GeneratorExit:
            _finished(flow.aclose())
            raise


def _running_loops() -> list[object]:
    """Return the event loops that run in this thread: two where trio is a guest in asyncio's."""
    loops: list[object] = [asyncio._get_running_loop()]  # noqa: SLF001 - as in `_core.event_loops`
    with contextlib.suppress(anyio.NoEventLoopError):
        loops.append(running_loop())
    return [loop for loop in loops if loop is not None and not _is_of_another_thread(loop)]


def _is_of_another_thread(loop: object) -> bool:
    """Return whether *loop* only seems to run here: with gevent, threads share what asyncio keeps for each."""
    return isinstance(loop, HelperLoop) and loop.thread != threading.get_ident()


def _finished(step: Coroutine[Any, Any, T]) -> T:
    """Return what *step* returns, which waits for nothing."""
    try:
        step.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    step.close()
    msg = "a step of a sync request waited"
    raise RuntimeError(msg)
