"""Drives a coroutine and cancels it at the k-th time that it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, final


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


T = TypeVar("T")


@final
class Stepped(Generic[T]):
    """Await it to run *coroutine*; *strike* is called just before its *k*-th suspension."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], k: int, strike: Callable[[], object]
    ) -> None:
        self._coroutine = coroutine
        self._k = k
        self._strike = strike
        #: How often it has waited.
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                result: T = end.value
                return result
            self.suspensions += 1
            if self.suspensions == self._k:
                self._strike()
            try:
                sent = yield awaited
            except BaseException as thrown:  # noqa: BLE001 - it is passed on
                step = _thrower(self._coroutine, thrown)
            else:
                step = _sender(self._coroutine, sent)


def _sender(coroutine: Coroutine[Any, Any, T], value: object) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def _thrower(coroutine: Coroutine[Any, Any, T], thrown: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(thrown)
