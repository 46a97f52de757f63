"""
Where tokens are shared: the `TokenStore` protocol, its values, and the store in memory.

A store that needs more than the standard library lives in a module of its own, with its extra.
"""

from taxizer_async.stores._memory import MemoryTokenStore
from taxizer_async.stores._protocol import Lease, StoreKey, TokenRecord, TokenStore


__all__ = ["Lease", "MemoryTokenStore", "StoreKey", "TokenRecord", "TokenStore"]
