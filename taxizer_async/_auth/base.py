"""What a `TaxizerAuth` is on any HTTP library that has the names of httpx; the faces add the library."""

from __future__ import annotations

import functools

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from taxizer_async._auth.bearer import Bearer
from taxizer_async._auth.options import AuthOptions
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_log import check_listener


if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.event_log import EventHook
    from taxizer_async._core.models import AuthStatus, Token
    from taxizer_async._core.policy import RenewalPolicy
    from taxizer_async._http.library import HttpClientFactory, HttpLibrary
    from taxizer_async._token.credentials_source import CredentialsLike
    from taxizer_async.stores import TokenStore


AuthT = TypeVar("AuthT", bound="AuthBase")


class AuthBase:
    """
    Logs in to Taxizer and carries the bearer token on every request of an async client.

    One object may be shared by any number of clients, tasks, event loops and threads, one after the
    other or at once, and survives a fork: all of them use one token. It owns no connection and needs no
    closing.

    Args:
        credentials: A `Credentials`, or a sync or async callable that returns one and is asked anew for
            each login.
        base_url: Where the API is; https, or http on loopback.
        store: Where the token is shared; by default this object's memory.
        policy: All durations and limits.
        http_client: Returns a fresh async client of the same HTTP library, which carries one login or
            renewal and is closed then. Give it for a proxy, a CA of your own or a test transport. It is
            called in a worker thread, as making a client reads files.
        on_event: Is called with each event: the first listener; see `add_listener`.
        extra_origins: Origins beside that of *base_url* that the token may be sent to.
        clock: For tests.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    _library: ClassVar[HttpLibrary]
    _bearer: Bearer

    def __init__(
        self,
        credentials: CredentialsLike,
        *,
        base_url: str = DEFAULT_BASE_URL,
        store: TokenStore | None = None,
        policy: RenewalPolicy | None = None,
        http_client: HttpClientFactory | None = None,
        on_event: EventHook | None = None,
        extra_origins: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        options = AuthOptions(
            credentials,
            base_url=base_url,
            store=store,
            policy=policy,
            http_client=http_client,
            on_event=on_event,
            extra_origins=extra_origins,
            clock=clock,
        )
        # Not in a frame that raises: see `_core.secret`.
        del credentials, base_url, store, policy, http_client, on_event, extra_origins, clock
        self._set_up(options)

    def _set_up(self, options: AuthOptions) -> None:
        self._bearer = Bearer(options, self._library)

    @property
    def base_url(self) -> str:
        """Where the API is, in one spelling."""
        return self._bearer.base_url

    async def token(self) -> Token:
        """
        Return a usable token; log in or renew if it takes that.

        Raises:
            AuthError: If none can be had; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        return await self._bearer.token()

    async def refused(self, token: Token, place: str = "") -> Token | None:
        """
        Tell that the server refused *token*, and return the token to use next.

        For users of `token()`: a WebSocket, gRPC, another HTTP library. All callers that tell of the same
        token share one renewal.

        Args:
            token: What was refused, as `token()` returned it.
            place: Where, such as `"GET https://host/path"`: a place that refuses what others accept costs
                no renewal from then on. Without it the token counts as revoked.

        Returns:
            None if the refusal is final for now: another token would not help, or none can be had. This
            raises no error; a failed login is logged and reported.
        """
        return await self._bearer.provider.refused(token, place)

    async def keep_fresh(self) -> None:
        """
        Renew though no request asks, until cancelled: for idle services, and to log in at the start.

        Failures are logged, reported and tried again, never raised:
        `task_group.start_soon(auth.keep_fresh)`.
        """
        await self._bearer.provider.keep_fresh()

    def status(self) -> AuthStatus:
        """Return what a health endpoint may show."""
        return self._bearer.provider.status()

    async def forget(self) -> None:
        """
        Drop the token here and in the store; the next request logs in.

        Raises:
            TokenStoreError: If the store could not drop it; here it is dropped.
            AuthError: If a credentials callable failed, so that the account is unknown.
        """
        await self._bearer.provider.forget()

    def add_listener(self, listener: EventHook) -> Callable[[], None]:
        """
        Have *listener* called with each event from now on, as *on_event* is; return what ends that.

        Any number may be added, by any thread. Each hears what happened in an event loop in order, in a
        task of its own there, so no request waits for it; one that fails or hangs keeps nothing from
        the others. When the event loop ends, it gets 1 s to hear the rest. Where no event loop runs, a
        sync one is called at once, and an async one can't be.

        Args:
            listener: Sync (it must be quick) or async; then it may take `RenewalPolicy.hook_timeout`.

        Raises:
            ConfigurationError: If it can't be called.
        """
        wrong = check_listener(listener, "a listener")
        if wrong is not None:
            # Not in a frame that raises: see `_core.secret`.
            del listener
            raise wrong
        return self._bearer.event_log.add_listener(listener)

    async def events_delivered(self) -> None:
        """
        Wait until all listeners have heard all that has happened so far; for tests, above all.

        What happened in another event loop is waited for while that one runs.

        Raises:
            RuntimeError: If a listener waits, as it would wait for itself.
        """
        await self._bearer.event_log.delivered()

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:  # noqa: ARG002 - the library's
        """
        Refuse to work.

        Raises:
            ConfigurationError: Always.
        """
        name = self._library.name
        msg = (
            f"TaxizerAuth is async only, and was given to a sync {name}.Client: use "
            f"{name}.AsyncClient, or a TaxizerClient"
        )
        raise ConfigurationError(msg)

    def __repr__(self) -> str:
        if not hasattr(self, "_bearer"):  # a traceback shows it before it is set up
            return f"<{type(self).__name__}>"
        return self._bearer.describe(type(self).__name__)

    def __reduce__(self) -> tuple[Callable[[], AuthBase], tuple[()]]:
        """Pickle the arguments, never the token; credentials given by value refuse to be pickled."""
        return functools.partial(type(self), **self._bearer.options.as_kwargs), ()


def make_auth(auth_class: type[AuthT], options: AuthOptions) -> AuthT:
    """
    Return an auth of *options* without having these in a frame.

    Raises:
        ConfigurationError: If an option is wrong.
    """
    auth = auth_class.__new__(auth_class)
    auth._set_up(options)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module
    return auth


def bearer_of(auth: object) -> Bearer:
    """
    Return what does the work of *auth*, for adapters.

    Raises:
        ConfigurationError: If it is no `TaxizerAuth`.
    """
    if not isinstance(auth, AuthBase):
        msg = f"auth must be a TaxizerAuth, not {type(auth).__name__}"
        raise ConfigurationError(msg)
    return auth._bearer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module
