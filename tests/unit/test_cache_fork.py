from __future__ import annotations

import pytest

from taxizer_async._core.policy import Freshness
from taxizer_async._token.cache import TokenCache
from tests.support.tokens import issue, make_cached
from tests.unit.conftest import InChild, ThreadWithin


pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def _is_spent(cache: TokenCache) -> bool:
    cached = cache.unshared()
    return cached is not None and cached.refresh_spent


def test_a_childs_refresh_token_is_spent(cache: TokenCache, in_child: InChild) -> None:
    """A child goes on with its parent's token, but takes the refresh token for spent; the parent does not."""
    issue(cache, make_cached())

    assert in_child(lambda: _is_spent(cache))
    assert in_child(lambda: cache.fresh() == make_cached())
    assert not _is_spent(cache)


def test_a_childs_own_token_is_its_own(cache: TokenCache, in_child: InChild) -> None:
    """A token that a child got itself is refreshable there, and spent in a child of that child."""
    issue(cache, make_cached("1"))

    def own() -> bool:
        issue(cache, make_cached("2"))
        return not _is_spent(cache) and in_child(lambda: _is_spent(cache))

    assert in_child(own)


def test_a_child_without_a_token(cache: TokenCache, in_child: InChild) -> None:
    """A fork before the first login leaves nothing to mark."""
    assert in_child(lambda: cache.unshared() is None and cache.freshness() is Freshness.EXPIRED)


def test_a_child_is_not_locked_out(
    cache: TokenCache, in_child: InChild, thread_within: ThreadWithin
) -> None:
    """A child can change its cache although a thread of its parent was doing so at the fork."""
    issue(cache, make_cached())

    def change() -> bool:
        cache.note_client_id("child")
        cache.forget()
        return cache.state.client_id == "child" and cache.state.cached is None

    with thread_within(cache._changing):
        assert in_child(change)
    assert cache.state.client_id == "app"
