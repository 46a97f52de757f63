"""What the lifespans of the adapters share: the check of the token store, and the end of `keep_fresh`."""

from __future__ import annotations

from typing import Final

from taxizer_async._auth.base import AuthBase, bearer_of
from taxizer_async._core.errors import TaxizerError
from taxizer_async._core.log_lines import LOG
from taxizer_async._core.turns import move_on_after_turns
from taxizer_async.stores import CheckableStore


#: Seconds that a check may delay the start of an application.
_TIMEOUT: Final = 5.0


async def check_store(auth: AuthBase) -> None:
    """Log what is wrong with the store of *auth*; do nothing if it has none, or one that can't tell."""
    store = bearer_of(auth).options.store
    if not isinstance(store, CheckableStore):
        return
    problem = f"its check took more than {_TIMEOUT:g} s"
    with move_on_after_turns(_TIMEOUT):
        try:
            await store.check()
        except TaxizerError as cause:
            problem = str(cause)
        except Exception as cause:  # noqa: BLE001 - whatever a store raises; its text may be secret
            problem = f"its check failed ({type(cause).__name__})"
        else:
            return
    LOG.warning(
        "the token store can't be used, so this process shares no token until it can: %s", problem
    )


def log_end_of_keep_fresh(cause: BaseException) -> None:
    """Log that `keep_fresh` has failed with *cause*, without its traceback, which may show secrets."""
    LOG.error("keep_fresh has failed (%s), so requests renew the token", type(cause).__name__)
