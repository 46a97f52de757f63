"""
Stores that share tokens: the `TokenStore` protocol, its values, the store in memory, and the codec of records.

Stores that need an extra have their own modules.
"""

from taxizer_async.stores._encryption import RecordCodec
from taxizer_async.stores._memory import MemoryTokenStore
from taxizer_async.stores._protocol import (
    CheckableStore,
    FailureRecord,
    FailureStore,
    Lease,
    StoreKey,
    StoreView,
    TokenRecord,
    TokenStore,
)


__all__ = [
    "CheckableStore",
    "FailureRecord",
    "FailureStore",
    "Lease",
    "MemoryTokenStore",
    "RecordCodec",
    "StoreKey",
    "StoreView",
    "TokenRecord",
    "TokenStore",
]
