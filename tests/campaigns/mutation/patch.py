"""Put the code of a mutant into the functions of a process that has imported the package already."""

from __future__ import annotations

import builtins
import gc
import inspect

from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Final, final

from cosmic_ray.exceptions import CosmicRayTestingException

from tests.campaigns.mutation.mutants import PACKAGE, original


if TYPE_CHECKING:
    from tests.campaigns.mutation.mutants import Mutant


_Spot = tuple[str, str, int]


@final
class LiveFunctions:
    """The functions of the package, wherever they are referred to."""

    def __init__(self) -> None:
        self._found: Final[dict[_Spot, list[FunctionType]]] = {}
        for each in gc.get_objects():
            if type(each) is FunctionType and each.__code__.co_filename.startswith(str(PACKAGE)):
                self._found.setdefault(_spot(each.__code__), []).append(each)
        # What the operator for exceptions puts into a clause.
        vars(builtins)["CosmicRayTestingException"] = CosmicRayTestingException

    def change(self, mutant: Mutant) -> bool:
        """Change them as the *mutant* does; return False if it changes more than the code of functions."""
        path = str(PACKAGE / mutant.file)
        old, new = (
            compile(source, path, "exec", dont_inherit=True)
            for source in (original(mutant.file), mutant.source())
        )
        pairs = _changed(old, new)
        if not pairs or any(
            _spot(before) not in self._found or before.co_freevars != after.co_freevars
            for before, after in pairs
        ):
            return False
        for before, after in pairs:
            for function in self._found[_spot(before)]:
                function.__code__ = after
        return True


def _changed(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """Return the functions that differ in two modules or classes; None if they do so elsewhere, too."""
    if _without_functions(old) != _without_functions(new):
        return None
    pairs = []
    for before, after in zip(_nested(old), _nested(new), strict=True):
        if before.co_flags & inspect.CO_OPTIMIZED:
            pairs += [(before, after)] if before != after else []
            continue
        deeper = _changed(before, after)
        if deeper is None:
            return None
        pairs += deeper
    return pairs


def _without_functions(code: CodeType) -> tuple[object, ...]:
    constants = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    names = [nested.co_name for nested in _nested(code)]
    return code.co_code, code.co_names, constants, names


def _nested(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _spot(code: CodeType) -> _Spot:
    return code.co_filename, code.co_qualname, code.co_firstlineno
