"""The rules of a `TokenStore`, for authors of one."""

from __future__ import annotations

import inspect

from collections.abc import Iterator
from typing import Final, cast

import anyio
import attrs

from taxizer_async.testing._store_suite.concurrency_cases import CONCURRENCY_CASES
from taxizer_async.testing._store_suite.failure_cases import FAILURE_CASES
from taxizer_async.testing._store_suite.harness import (
    LIMIT,
    Check,
    NotTriedError,
    StoreFactory,
    StoreHarness,
)
from taxizer_async.testing._store_suite.lease_cases import LEASE_CASES
from taxizer_async.testing._store_suite.record_cases import RECORD_CASES


@attrs.frozen
class TokenStoreCase:
    """
    One rule.

    Attributes:
        name: Its name.
        rule: What a store has to do.
        advice: How stores do it.
    """

    name: str
    rule: str
    advice: str
    _check: Check = attrs.field(repr=False)

    async def run(self, factory: StoreFactory) -> bool:
        """
        Check the stores of *factory*; see `check_token_store`.

        Returns:
            Whether it could be tried: a factory that can't be pickled makes no store in another process, and
            not every store shares failures.

        Raises:
            AssertionError: If the store breaks the rule. The text says which rule, how, and what to do.
            Exception: If the store itself raises it.
        """
        problem: str | None = None
        with anyio.move_on_after(LIMIT) as limit:
            try:
                await self._check(StoreHarness(factory))
            except NotTriedError:
                return False
            except (AssertionError, ExceptionGroup) as cause:
                problem = _describe(cause)
                if problem is None:
                    raise
        if limit.cancelled_caught:
            problem = f"it took longer than {LIMIT:g} s"
        if problem is not None:
            msg = f"{self.name}: {self.rule}: {problem}. {self.advice}"
            raise AssertionError(msg)
        return True


async def check_token_store(factory: StoreFactory) -> tuple[str, ...]:
    """
    Check your own store against all of `TOKEN_STORE_CASES`, on asyncio or trio; it takes a few seconds.

    ```python
    import anyio

    from taxizer_async.stores import MemoryTokenStore
    from taxizer_async.testing import check_token_store

    shared = MemoryTokenStore()
    names = anyio.run(check_token_store, lambda: shared)
    print(len(names), "cases passed")
    ```

    For a test per rule, parametrize one with the cases:

    ```python
    @pytest.mark.parametrize("case", TOKEN_STORE_CASES, ids=lambda case: case.name)
    async def test_my_store(case, tmp_path):
        await case.run(lambda: MyTokenStore(tmp_path))
    ```

    Args:
        factory: Returns a store, or an awaitable of one. It is called several times: the stores stand for
            several processes, and share their tokens. Each case uses new keys, so other tokens in the
            store are not touched. If it can be pickled, as `functools.partial(MyTokenStore, path)` and a
            function of an importable module can, a case makes a store in another process, too, and
            kills that.

    Returns:
        The names of the cases that have passed: all, or all that could be tried. If *factory* can't be
        pickled that is not `a_killed_holders_lease_ends`, and if the store is no `FailureStore` not those
        about failures.

    Raises:
        ExceptionGroup: If cases failed; its text has their names. An `AssertionError` in it tells the rule,
            how the store broke it, and what to do. The store raised any other exception, which has a note
            with the name of the case.
    """
    passed: list[str] = []
    problems: dict[str, Exception] = {}
    for case in TOKEN_STORE_CASES:
        try:
            if await case.run(factory):
                passed.append(case.name)
        except Exception as problem:  # noqa: BLE001 - a store may raise anything
            problem.add_note(f"in the case {case.name}")
            problems[case.name] = problem
    if problems:
        msg = f"{len(problems)} of {len(TOKEN_STORE_CASES)} cases failed: {', '.join(problems)}"
        raise ExceptionGroup(msg, list(problems.values()))
    return tuple(passed)


def _describe(cause: Exception) -> str | None:
    """Return the text of the first AssertionError; None if there is any other error."""
    causes = list(_leaves(cause))
    if all(isinstance(each, AssertionError) for each in causes):
        return str(causes[0])
    return None


def _leaves(cause: Exception) -> Iterator[Exception]:
    if isinstance(cause, ExceptionGroup):
        for each in cast("ExceptionGroup[Exception]", cause).exceptions:
            yield from _leaves(each)
    else:
        yield cause


def _case(check: Check) -> TokenStoreCase:
    rule, _, advice = inspect.cleandoc(check.__doc__ or "").partition("\n\n")
    return TokenStoreCase(
        check.__name__.strip("_"), rule.rstrip("."), " ".join(advice.split()), check
    )


#: All rules; `check_token_store` runs them one by one.
TOKEN_STORE_CASES: Final = tuple(
    map(_case, [*RECORD_CASES, *LEASE_CASES, *FAILURE_CASES, *CONCURRENCY_CASES])
)
