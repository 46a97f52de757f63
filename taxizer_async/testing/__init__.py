"""
For tests of services that use Taxizer: a real server that speaks its contract.

Needs the extra: `pip install "taxizer-async[sandbox]"`.
"""

from __future__ import annotations

from taxizer_async.testing._manual_clock import ManualClock
from taxizer_async.testing._sandbox import Sandbox
from taxizer_async.testing._sandbox_faults import Fault
from taxizer_async.testing._sandbox_records import SandboxCounters


__all__ = ["Fault", "ManualClock", "Sandbox", "SandboxCounters"]
