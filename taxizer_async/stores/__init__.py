"""
Stores that share tokens: the `TokenStore` protocol, its values, and the store in memory.

Stores that need an extra have their own modules.
"""

from taxizer_async.stores._memory import MemoryTokenStore
from taxizer_async.stores._protocol import Lease, StoreKey, TokenRecord, TokenStore


__all__ = ["Lease", "MemoryTokenStore", "StoreKey", "TokenRecord", "TokenStore"]
