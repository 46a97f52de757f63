"""
Stores that share tokens: the `TokenStore` protocol, its values, and the store in memory.

Stores that need an extra have their own modules.
"""

from taxizer_async.stores._memory import MemoryTokenStore
from taxizer_async.stores._protocol import (
    FailureRecord,
    FailureStore,
    Lease,
    StoreKey,
    StoreView,
    TokenRecord,
    TokenStore,
)


__all__ = [
    "FailureRecord",
    "FailureStore",
    "Lease",
    "MemoryTokenStore",
    "StoreKey",
    "StoreView",
    "TokenRecord",
    "TokenStore",
]
