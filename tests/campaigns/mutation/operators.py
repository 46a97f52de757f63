"""
Which operators of cosmic-ray are used, and one of ours: a statement is left out.

Each comparison and each arithmetic operator has one replacement, the one that is hardest to notice: `<` becomes `<=`,
and not `>` as well, which a test that notices the first notices, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import parso

from cosmic_ray.operators.exception_replacer import ExceptionReplacer
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator


if TYPE_CHECKING:
    from collections.abc import Iterator


_COMPARISONS: Final = ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq")
_IDENTITIES: Final = ("Is_IsNot", "IsNot_Is")
_ARITHMETIC: Final = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Div")
_BITS: Final = ("BitOr_BitAnd", "BitAnd_BitOr", "LShift_RShift", "RShift_LShift")
_OTHERS: Final = (
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "NumberReplacer"),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_USub_UAdd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    "RemoveDecorator",
)


class DeleteStatement(Operator):  # type: ignore[misc]
    """Leaves out a call, an assignment to an attribute or an item, a `raise` or a `del`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Return where such a statement begins and ends."""
        if node.type == "simple_stmt" and _has_effect(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002 - the operator's interface
        """Put `pass` in its place."""
        statement = node.children[0]
        node.children[0] = parso.parse(statement.get_first_leaf().prefix + "pass")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """Return none: cosmic-ray's own tests would ask for them."""
        return ()


class PlainExceptionReplacer(ExceptionReplacer):  # type: ignore[misc]
    """Cosmic-ray's, which makes no Python of a name with a dot."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Return those of the exceptions that a clause catches."""
        if node.type == "except_clause" and "." not in node.get_code():
            yield from super().mutation_positions(node)


def _has_effect(statement: Any) -> bool:
    if statement.type == "expr_stmt":
        # A name that is left out is a NameError.
        is_plain = statement.children[1].type != "operator" or statement.children[1].value == "="
        return statement.children[0].type == "atom_expr" or not is_plain
    return statement.type in {"atom_expr", "raise_stmt", "del_stmt", "yield_expr", "await_expr"}


#: By name.
OPERATORS: Final[dict[str, Any]] = {
    name: get_operator(f"core/{name}")()
    for name in (
        *(f"ReplaceComparisonOperator_{each}" for each in _COMPARISONS + _IDENTITIES),
        *(f"ReplaceBinaryOperator_{each}" for each in _ARITHMETIC + _BITS),
        *_OTHERS,
    )
} | {"DeleteStatement": DeleteStatement(), "ExceptionReplacer": PlainExceptionReplacer()}
