"""What each `TokenStore` has to do, for who writes one; the rules themselves are in `_store_cases`."""

from __future__ import annotations

from typing import Final

import anyio
import attrs

from taxizer_async.testing._store_bench import LIMIT, Bench, StoreFactory
from taxizer_async.testing._store_cases import CASES, Check


@attrs.frozen
class TokenStoreCase:
    """
    One rule.

    Attributes:
        name: What it is called.
        rule: What a store has to do.
    """

    name: str
    rule: str
    _check: Check = attrs.field(repr=False)

    async def run(self, factory: StoreFactory) -> None:
        """
        Try it on the stores of *factory*.

        Raises:
            AssertionError: If the store breaks the rule; the text says which.
        """
        problem: str | None = None
        with anyio.move_on_after(LIMIT) as limit:
            try:
                await self._check(Bench(factory))
            except AssertionError as cause:
                problem = str(cause)
        if limit.cancelled_caught:
            problem = f"it took longer than {LIMIT:g} s"
        if problem is not None:
            msg = f"{self.name}: {self.rule}: {problem}"
            raise AssertionError(msg)


async def check_token_store(factory: StoreFactory) -> tuple[str, ...]:
    """
    Put a store of your own through all of `TOKEN_STORE_CASES`.

    ```python
    shared = MemoryTokenStore()
    print(len(await check_token_store(lambda: shared)), "cases passed")
    ```

    Args:
        factory: Returns a store, or an awaitable of one. It is called several times: what it returns
            stands for several processes, and all of it shares the same tokens. Each case has keys of
            its own, so what others keep there is not touched.

    Returns:
        The names of the cases, all of which passed.

    Raises:
        ExceptionGroup: Of what was raised by the cases that failed; an `AssertionError` tells the rule.
    """
    problems: list[Exception] = []
    for case in TOKEN_STORE_CASES:
        try:
            await case.run(factory)
        except Exception as problem:  # noqa: BLE001 - a store may raise anything, and all is to be told
            problem.add_note(f"in the case {case.name}")
            problems.append(problem)
    if problems:
        msg = f"{len(problems)} of {len(TOKEN_STORE_CASES)} cases failed"
        raise ExceptionGroup(msg, problems)
    return tuple(case.name for case in TOKEN_STORE_CASES)


def _case(check: Check) -> TokenStoreCase:
    rule = (check.__doc__ or "").strip().rstrip(".")
    return TokenStoreCase(check.__name__.strip("_"), rule, check)


#: All rules; `check_token_store` tries them one by one, a test runner may do so itself.
TOKEN_STORE_CASES: Final = tuple(map(_case, CASES))
