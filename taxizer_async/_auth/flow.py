"""
One request of httpx or httpx2: it gets the token, and is sent again after a 401 if a new token may help.

The flow is an object rather than a generator: that costs each request less, and a generator does not learn
why it is closed. It may be closed in another task, dropped or never finished: it holds no lock, and
has nothing to undo.
"""

from __future__ import annotations

import contextlib
import sys

from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any, Final

from taxizer_async._auth.bearer import (
    DRAINED_BYTES,
    DRAINED_SECONDS,
    RESENDS,
    UNAUTHORIZED,
    Bearer,
    place_of,
    tells_of_token,
)
from taxizer_async._core.event_loops import move_on_after
from taxizer_async._http.library import HttpLibrary
from taxizer_async._http.network_errors import causes_of
from taxizer_async._http.response import RawResponse, receive
from taxizer_async._token.cached_token import CachedToken


#: In a request's extensions: the token that it was sent with.
MARK: Final = "taxizer_async"
#: In a response's extensions: what a hook of the user's raised on it.
HELD_BACK: Final = "taxizer_async.held_back"
#: In a response's extensions: that its 401 has been dealt with.
_SEEN: Final = "taxizer_async.seen"

HEADER: Final = "Authorization"


class AuthFlow(AsyncGenerator[Any, Any]):
    """What the library drives for each request: it asks for a request to send, and passes in the response."""

    __slots__ = ("_bearer", "_cached", "_past", "_request", "_sent_at")

    def __init__(self, bearer: Bearer, request: Any) -> None:
        self._bearer = bearer
        self._request = request
        # The token that was sent; None before and after that, and if it may not go there.
        self._cached: CachedToken | None = None
        # The responses before the last one, redirects included.
        self._past: Sequence[Any] = ()

    async def __anext__(self) -> Any:
        """Return the request with the token."""
        bearer, request = self._bearer, self._request
        url = request.url
        # Most requests go to the API itself, and three comparisons cost less than hashing a tuple.
        if (
            url.raw_host != bearer.host or url.port != bearer.port or url.scheme != bearer.scheme
        ) and not bearer.may_have_token(url.scheme, url.raw_host, url.port):
            return _without_token(bearer.library, request)
        cached, now = bearer.cache.state.cached, bearer.now()
        if cached is None or now >= cached.fresh_until:
            cached = await self._acquire()
            now = bearer.now()
        mark = request.extensions.get(MARK)
        if mark is not cached.mark:
            if mark is not None:
                # It was sent with another token, and may still be under way.
                request = bearer.library.copied(request)
            request.extensions[MARK] = cached.mark
        request.headers[HEADER] = cached.authorization
        self._cached = cached
        self._sent_at = now
        return request

    async def asend(self, response: Any) -> Any:
        """Take the response; return the request to send again, if any."""
        cached = self._cached
        if cached is None:
            if response is None:
                return await self.__anext__()
            raise StopAsyncIteration
        if response.status_code == UNAUTHORIZED:
            return await self._answer_401(cached, response)
        self._cached = None
        bearer = self._bearer
        if bearer.cache.state.listens:
            self._note_acceptance(cached, response)
        if self._past:
            self._complete_history(response)
        raise StopAsyncIteration

    async def athrow(self, *_: Any) -> Any:
        """End, as `aclose` does; HTTP libraries throw nothing into a flow."""
        await self.aclose()

    async def aclose(self) -> None:
        """End; an exception that ended the request may hold a 401."""
        if self._cached is not None:
            self._look_at_exception(self._cached)
            self._cached = None

    async def _answer_401(self, cached: CachedToken, response: Any) -> Any:
        """Return the refused request with another token, or hand the 401 back."""
        self._cached = None
        request = response.request
        held_back = response.extensions.pop(HELD_BACK, None)
        replacement = None
        if self._is_to_be_renewed(cached, response) and self._can_resend(request):
            await self._free(response)
            replacement = await self._replacement_for(cached)
        if replacement is None:
            self._complete_history(response)
            raise StopAsyncIteration if held_back is None else held_back
        # When a flow returns another request, the library drops the redirects that led to the response.
        self._past = [*self._whole_history(response), response]
        # Other tasks may have sent the same object, and may still wait for the response.
        request = self._bearer.library.copied(request)
        request.extensions[MARK] = replacement.mark
        request.headers[HEADER] = replacement.authorization
        self._cached, self._sent_at = replacement, self._bearer.now()
        return request

    # A flow waits for these three only; that of the sync face waits in other ways.

    def _acquire(self) -> Awaitable[CachedToken]:
        return self._bearer.provider.acquire()

    def _replacement_for(self, cached: CachedToken) -> Awaitable[CachedToken | None]:
        return self._bearer.replacement_for(cached)

    def _free(self, response: Any) -> Awaitable[None]:
        return _drain(response)

    def _note_acceptance(self, cached: CachedToken, response: Any) -> None:
        if not tells_of_token(response.status_code):
            return
        # After a redirect, the token may not have been sent to the last hop.
        for each in (response, *reversed(response.history)):
            if each.request.headers.get(HEADER) == cached.authorization:
                place = _place(each.request)
                self._bearer.provider.note_acceptance(cached, place, sent_at=self._sent_at)
                return

    def _is_to_be_renewed(self, cached: CachedToken, response: Any) -> bool:
        request = response.request
        response.extensions[_SEEN] = True
        # After a redirect, the token may not have been sent.
        if request.headers.get(HEADER) != cached.authorization:
            return False
        return self._bearer.is_worth_renewing(
            cached,
            _place(request),
            sent_at=self._sent_at,
            challenge=response.headers.get("WWW-Authenticate"),
        )

    def _can_resend(self, request: Any) -> bool:
        url = request.url
        resends = sum(each.status_code == UNAUTHORIZED for each in self._past)
        return (
            resends < RESENDS
            and self._bearer.library.is_replayable(request)
            and self._bearer.may_have_token(url.scheme, url.raw_host, url.port)
        )

    def _whole_history(self, response: Any) -> list[Any]:
        return [*self._past, *(each for each in response.history if each not in self._past)]

    def _complete_history(self, response: Any) -> None:
        if self._past:
            response.history = self._whole_history(response)

    def _look_at_exception(self, cached: CachedToken) -> None:
        """Find the 401 that made a hook of the user's raise before the flow saw it."""
        module = self._bearer.library.module
        for error in causes_of(sys.exception()):
            # Any class of exception may be here, and its attributes may raise.
            with contextlib.suppress(Exception):
                response: Any = getattr(error, "response", None)
                if (
                    isinstance(response, module.Response)
                    and response.status_code == UNAUTHORIZED
                    and response.request.extensions.get(MARK) is cached.mark
                    and _SEEN not in response.extensions
                ):
                    self._is_to_be_renewed(cached, response)
                    return


def _place(request: Any) -> str:
    url = request.url
    path = url.raw_path.partition(b"?")[0].decode()
    return place_of(request.method, url.scheme, url.raw_host, url.port, path)


def _without_token(library: HttpLibrary, request: Any) -> Any:
    """Return *request*, or a copy without our token if it carries one, which may not go to its origin."""
    mark = request.extensions.get(MARK)
    if mark is None or request.headers.get(HEADER) != mark.reveal():
        return request
    copy = library.copied(request)
    del copy.extensions[MARK], copy.headers[HEADER]
    return copy


async def _drain(response: Any) -> None:
    """
    Free the connection of a 401, which the refresh may need.

    Whatever is wrong with the body, what was read of it becomes the response's content.
    """
    answer = RawResponse(most=DRAINED_BYTES)
    with move_on_after(DRAINED_SECONDS), contextlib.suppress(Exception):
        await receive(response, answer)
    with move_on_after(DRAINED_SECONDS), contextlib.suppress(Exception):
        await response.aclose()
    if not hasattr(response, "_content"):
        body = answer.body()
        # There is no public way to mark the response as read.
        response._content = bytes(answer.raw) if body is None else body  # noqa: SLF001
