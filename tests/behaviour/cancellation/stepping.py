"""Drives a coroutine, and tells each time that it is about to wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, final


T = TypeVar("T")


@final
class Stepped(Generic[T]):
    """
    Await it to run *coroutine*.

    Just before each suspension *notice* is called with its number, from 1, and with what is awaited.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], notice: Callable[[int, object], object]
    ) -> None:
        self._coroutine = coroutine
        self._notice = notice
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
            self._notice(self.suspensions, awaited)
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
