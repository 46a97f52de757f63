"""Keeps response hooks that raise, as `raise_for_status` does, from hiding a 401 from the auth."""

from __future__ import annotations

from typing import Any, final

from taxizer_async._auth.bearer import UNAUTHORIZED
from taxizer_async._auth.flow import HELD_BACK, MARK


@final
class EventHooks(dict[str, list[Any]]):
    """
    What a client of httpx or httpx2 runs in place of *hooks*, the user's, which may change.

    An exception of a response hook on a 401 to our token is held back until the auth has seen that 401.
    """

    def __init__(self, hooks: dict[str, list[Any]]) -> None:
        super().__init__()
        self._hooks = hooks

    def __missing__(self, kind: str) -> list[Any]:
        hooks = self._hooks[kind]
        return [self._run] if hooks and kind == "response" else hooks

    async def _run(self, response: Any) -> None:
        try:
            for hook in self._hooks["response"]:
                await hook(response)
        except Exception as error:
            is_ours = MARK in response.request.extensions
            if response.status_code != UNAUTHORIZED or not is_ours:
                raise
            response.extensions[HELD_BACK] = error
