"""
Strings that must not be shown, and the rule about frames.

Error reporters and debuggers record the local variables of every frame in a traceback. So an exception
is raised in a frame that holds no secret: a function that finds a problem returns it as a value, or
deletes its secret variables before it raises. It raises after the `except` block, so that `__context__`
keeps neither the cause nor the cause's frames. Other modules refer to this rule as "see `_core.secret`".
"""

from __future__ import annotations

from typing import Final, NoReturn, Self, final

from taxizer_async._core.errors import ConfigurationError


MASK: Final = "***"


@final
class UnreadySecretError(ConfigurationError):
    """
    A credential is empty, or its file can't be read.

    When a program starts, that is a mistake; later, the file may just be being replaced.
    """


@final
class Secret:
    """
    A string that only `reveal` shows.

    It is not an attrs class, as `attrs.asdict` would take it apart, and it refuses to be pickled.
    """

    __slots__ = ("_value",)

    _value: str

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            kind = type(value).__name__
            del value
            msg = f"a Secret holds a str, not {kind}"
            raise ConfigurationError(msg)
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the string itself; do not keep it in a variable."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = "a Secret is immutable"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = "a Secret is immutable"
        raise AttributeError(msg)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> NoReturn:
        msg = (
            "a Secret is never pickled, so neither is what holds one: give the other process a "
            "callable such as Credentials.from_env instead of the credentials"
        )
        raise TypeError(msg)

    def __reduce__(self) -> NoReturn:
        self.__getstate__()
