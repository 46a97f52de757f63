"""Where credentials come from: a value, or a callable that is asked anew for each login."""

from __future__ import annotations

import inspect

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, final

from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_loops import move_on_after
from taxizer_async._core.exchange import Misconfigured
from taxizer_async._core.models import Credentials
from taxizer_async._core.secret import UnreadySecretError
from taxizer_async._core.threads import AbandonableCalls, NoThreadError, TooManyCallsError
from taxizer_async._token.failures import CredentialsUnavailable


CredentialsLike: TypeAlias = Credentials | Callable[[], Credentials | Awaitable[Credentials]]

#: So many calls of a sync callable may hang.
_MOST_CALLS: Final = 4


@final
class CredentialsSource:
    """
    Wraps what the user gave, so that no frame or repr shows it.

    A callable may well be a `functools.partial` with the secret among its arguments.
    """

    __slots__ = ("_calls", "_given", "_problem")

    def __init__(self, given: CredentialsLike) -> None:
        is_callable = callable(given) and not isinstance(given, type)
        self._problem: str | None = None
        if not isinstance(given, Credentials) and not is_callable:
            self._problem = type(given).__name__
        self._given = given
        self._calls = AbandonableCalls(_MOST_CALLS)

    def check(self) -> None:
        """
        Check what was given, where no frame of the caller shows it.

        Raises:
            ConfigurationError: If it is neither credentials nor a callable.
        """
        if self._problem is not None:
            msg = f"credentials must be Credentials or a callable that returns them, not {self._problem}"
            raise ConfigurationError(msg)

    @property
    def fixed(self) -> Credentials | None:
        """The credentials, if they are given by value; None if they are asked for each time."""
        return self._given if isinstance(self._given, Credentials) else None

    async def ask(self) -> object:
        """
        Return what the callable returns; a sync one runs in a thread, as it may block.

        Raises:
            TooManyCallsError: If too many earlier calls of it hang.
            NoThreadError: If no thread can be started for it.
        """
        if self.fixed is not None:
            return self.fixed
        answer = self._call() if self._is_async else await self._calls.run(self._call)
        return await answer if inspect.isawaitable(answer) else answer

    @property
    def _is_async(self) -> bool:
        # An object may have an async __call__.
        call = getattr(self._given, "__call__", None)  # noqa: B004
        return inspect.iscoroutinefunction(self._given) or inspect.iscoroutinefunction(call)

    # A method, as its repr is harmless.
    def _call(self) -> object:
        return None if isinstance(self._given, Credentials) else self._given()


async def ask_credentials(
    source: CredentialsSource, *, seconds: float
) -> Credentials | CredentialsUnavailable | Misconfigured:
    """
    Ask *source*, for *seconds* at most.

    What a callable raises is told by its class alone, as its text and frames may hold a secret; a
    `ConfigurationError` is ours, and says more. What may pass is no misconfiguration.
    """
    problem = f"returned nothing within {seconds:.3g} s"
    with move_on_after(seconds):
        try:
            answer = await source.ask()
        except UnreadySecretError as cause:
            problem = f"found that {cause}"
        except ConfigurationError as cause:
            return Misconfigured(reason=str(cause))
        except TooManyCallsError as cause:
            problem = f"has not returned from {cause.calls} earlier calls, and needs a time-out of its own"
        except NoThreadError:
            problem = "was not called, as no thread can be started"
        except (Exception, SystemExit) as cause:  # noqa: BLE001 - it is the user's
            problem = f"raised {type(cause).__name__}"
        else:
            if isinstance(answer, Credentials):
                return answer
            return Misconfigured(
                reason=f"the credentials callable returned {type(answer).__name__}, not Credentials"
            )
    return CredentialsUnavailable(problem)
