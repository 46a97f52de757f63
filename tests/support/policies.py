"""Policies that several tests want."""

from __future__ import annotations

from typing import Final

from taxizer_async import RenewalPolicy
from tests.support.limits import HANG


#: Seconds that a token of the sandbox lives; at DUE one caller renews it, at PRESSING all wait for the renewal.
LIFETIME: Final = 900.0
DUE: Final = 730.0
PRESSING: Final = 875.0

#: A login makes one attempt, as the first pause would end after its deadline.
ONE_TRY: Final = RenewalPolicy(backoff=60.0)
#: A listener that waits for the test is given more time than the test has.
PATIENT: Final = RenewalPolicy(hook_timeout=3 * HANG)
