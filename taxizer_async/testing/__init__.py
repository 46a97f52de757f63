"""
For tests of services that use Taxizer: a real server that speaks its contract, and the rules for stores.

`Sandbox` needs the extra `sandbox`, for its server: `pip install "taxizer-async[sandbox]"`.
"""

from __future__ import annotations

from taxizer_async.testing._manual_clock import ManualClock
from taxizer_async.testing._sandbox.faults import Fault
from taxizer_async.testing._sandbox.recorder import SandboxCounters
from taxizer_async.testing._sandbox.sandbox import Sandbox
from taxizer_async.testing._store_suite.harness import StoreFactory
from taxizer_async.testing._store_suite.suite import (
    TOKEN_STORE_CASES,
    TokenStoreCase,
    check_token_store,
)
from taxizer_async.testing._token_response import token_response


__all__ = [
    "TOKEN_STORE_CASES",
    "Fault",
    "ManualClock",
    "Sandbox",
    "SandboxCounters",
    "StoreFactory",
    "TokenStoreCase",
    "check_token_store",
    "token_response",
]
