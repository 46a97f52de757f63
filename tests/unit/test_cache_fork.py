from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async._core.policy import Freshness


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._token.cache import TokenCache
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async.testing._manual_clock import ManualClock
    from tests.unit.conftest import ThreadWithin

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_a_child_uses_the_token(
    cache: TokenCache,
    make_cached: Callable[..., CachedToken],
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A forked child goes on with the token that its parent had."""
    cache.set_issued(make_cached(), login=True, elapsed=0.1, generation=0)

    assert in_child(lambda: cache.fresh() == make_cached())


def test_a_childs_refresh_token_is_spent(
    cache: TokenCache,
    make_cached: Callable[..., CachedToken],
    clock: ManualClock,
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A forked child takes its parent's refresh token for spent; the parent goes on with it."""
    cache.set_issued(make_cached(), login=True, elapsed=0.1, generation=0)

    def spent() -> bool:
        cached = cache.unshared()
        return cached is not None and cached.refresh_spent and not cached.refreshable(clock)

    assert in_child(spent)
    cached = cache.unshared()
    assert cached is not None
    assert cached.refreshable(clock)


def test_a_childs_own_token_is_its_own(
    cache: TokenCache,
    make_cached: Callable[..., CachedToken],
    clock: ManualClock,
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A token that a child got itself is refreshable there."""
    cache.set_issued(make_cached("1"), login=True, elapsed=0.1, generation=0)

    def own() -> bool:
        cache.set_issued(make_cached("2"), login=True, elapsed=0.1, generation=0)
        cached = cache.unshared()
        return cached is not None and cached.refreshable(clock)

    assert in_child(own)


def test_a_child_without_a_token(
    cache: TokenCache, in_child: Callable[[Callable[[], bool]], bool]
) -> None:
    """A fork before the first login leaves nothing to mark."""
    assert in_child(lambda: cache.unshared() is None and cache.freshness() is Freshness.EXPIRED)


def test_a_child_is_not_locked_out(
    cache: TokenCache,
    make_cached: Callable[..., CachedToken],
    in_child: Callable[[Callable[[], bool]], bool],
    thread_within: ThreadWithin,
) -> None:
    """A child can change its cache although a thread of its parent was doing so at the fork."""
    cache.set_issued(make_cached(), login=True, elapsed=0.1, generation=0)

    def change() -> bool:
        cache.note_client_id("child")
        cache.forget()
        return cache.state.client_id == "child" and cache.state.cached is None

    with thread_within(cache._changing):
        assert in_child(change)
    assert cache.state.client_id == "app"


def test_the_child_of_a_child(
    cache: TokenCache,
    make_cached: Callable[..., CachedToken],
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A grandchild takes its parent's refresh token for spent, too."""
    cache.set_issued(make_cached(), login=True, elapsed=0.1, generation=0)

    def grandchild_spent() -> bool:
        cached = cache.unshared()
        return cached is not None and cached.refresh_spent

    def child() -> bool:
        cache.set_issued(make_cached("2"), login=True, elapsed=0.1, generation=0)
        return in_child(grandchild_spent)

    assert in_child(child)
