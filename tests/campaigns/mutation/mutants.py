"""
Which mutants there are: all of `_token/`, and 600 of those of `_auth/`, `_http/` and `stores/`.

Left out is what can't change what the package does, or changes only a message: annotations (they are not evaluated),
`if TYPE_CHECKING`, `@final`, `@overload`, `kw_only` (the type checkers hold it), and what stands within an f-string.
"""

from __future__ import annotations

import difflib
import hashlib

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tests.campaigns.mutation.operators import OPERATORS


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT: Final = Path(__file__).resolve().parents[3]
PACKAGE: Final = ROOT / "taxizer_async"
WHOLE: Final = ("_token",)
DRAWN: Final = ("_auth", "_http", "stores")
DRAW: Final = 600
SEED: Final = 17
_NO_EFFECT: Final = ("@final", "@overload", "@override")


@attrs.frozen(kw_only=True)
class Mutant:
    """
    One change to one module.

    Attributes:
        file: The module, relative to the package.
        scope: The function or class, if it is in one.
        operator: What is changed …
        occurrence: … and where, as cosmic-ray counts.
        first: The first line of what is changed …
        last: … and the last.
        key: Names it as long as its statement does not change.
    """

    file: str
    scope: str
    operator: str
    occurrence: int
    first: int
    last: int
    key: str

    def source(self) -> str:
        """Return the module's source with the change."""
        mutated = mutate_code(original(self.file), OPERATORS[self.operator], self.occurrence)
        assert isinstance(mutated, str)
        return mutated

    def diff(self) -> str:
        """Return what is changed, in the form of `survivors.diff`."""
        lines = difflib.unified_diff(
            original(self.file).splitlines(), self.source().splitlines(), n=0, lineterm=""
        )
        changes = [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
        changes = [line for line in changes if line[1:].strip()]
        return "\n".join([f"@@ {self.file} {self.scope}".rstrip(), *changes])


def original(file: str) -> str:
    """Return the source of *file*."""
    return (PACKAGE / file).read_text("utf-8")


def all_mutants() -> list[Mutant]:
    """Return those that are tried, always in the same order."""
    others = [mutant for folder in DRAWN for mutant in _mutants_of_folder(folder)]
    # By hash, so that a change in one place does not draw others everywhere.
    drawn = sorted(others, key=lambda mutant: _hash(f"{SEED} {mutant.key}"))[:DRAW]
    return [mutant for folder in WHOLE for mutant in _mutants_of_folder(folder)] + drawn


def _mutants_of_folder(folder: str) -> Iterator[Mutant]:
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        yield from _mutants_of_file(path.relative_to(PACKAGE).as_posix())


def _mutants_of_file(file: str) -> Iterator[Mutant]:
    source = original(file)
    lines = source.splitlines()
    nodes = list(ast_nodes(get_ast(source)))
    seen: Counter[str] = Counter()
    for name, operator in OPERATORS.items():
        spots = ((node, spot) for node in nodes for spot in operator.mutation_positions(node))
        for occurrence, (node, ((first, column), (last, _))) in enumerate(spots):
            text = "\n".join(lines[first - 1 : last])
            what = f"{file} {name} {column} {text}"
            seen[what] += 1
            if _has_effect(node):
                yield Mutant(
                    file=file,
                    scope=_scope(node),
                    operator=name,
                    occurrence=occurrence,
                    first=first,
                    last=_decorated(node) or last,
                    key=_hash(f"{what} {seen[what]}")[:16],
                )


def _has_effect(node: Any) -> bool:
    if node.type == "decorator" and node.get_code().strip() in _NO_EFFECT:
        return False
    if _is_for_types(node) or (node.type == "operator" and node.parent.type == "parameters"):
        return False
    while (parent := node.parent) is not None:
        is_annotation = (
            parent.type == "tfpdef"
            or (parent.type == "annassign" and node is parent.children[1])
            or (parent.type == "funcdef" and node is parent.annotation)
        )
        is_kw_only = (
            parent.type == "argument" and parent.children[0].get_code().strip() == "kw_only"
        )
        if is_annotation or is_kw_only or parent.type == "fstring_expr" or _is_for_types(parent):
            return False
        node = parent
    return True


def _decorated(node: Any) -> int | None:
    """Return the last line of what is decorated, as its tests are those that may notice."""
    return node.search_ancestor("decorated").end_pos[0] if node.type == "decorator" else None


def _scope(node: Any) -> str:
    names = []
    while node is not None:
        if node.type in {"funcdef", "classdef"}:
            names.append(node.name.value)
        is_decorator = node.type in {"decorator", "decorators"}
        node = node.parent
        if is_decorator and node.type == "decorated":
            names.append(node.children[-1].get_first_leaf().get_next_leaf().value)
    return ".".join(reversed(names))


def _is_for_types(node: Any) -> bool:
    return bool(node.type == "if_stmt" and node.children[1].get_code().strip() == "TYPE_CHECKING")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
