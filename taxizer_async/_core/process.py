"""What a forked child must not share with its parent."""

from __future__ import annotations

import os

from collections.abc import Callable
from typing import Final, Generic, TypeVar, final


T = TypeVar("T")


@final
class PerProcess(Generic[T]):
    """
    A value that a forked child makes anew.

    The parent's value may be in use there, and a lock in it may be held by a thread that the child does
    not have. The child keeps it alive, as collecting it could end what the parent uses.
    """

    __slots__ = ("_inherited", "_make", "_pid", "_value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Final = make
        self._inherited: Final[list[T]] = []
        self._value = make()
        self._pid = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether the value was made by the parent of this process."""
        return self._pid != os.getpid()

    def get(self) -> T:
        if self._pid != os.getpid():
            self._inherited.append(self._value)
            self._value = self._make()
            self._pid = os.getpid()
        return self._value
