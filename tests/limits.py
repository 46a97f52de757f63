"""How long a test waits for what has to come."""

from __future__ import annotations

from typing import Final


#: Seconds after which a wait is a hang: far more than a slow machine needs that is busy with other tests,
#: and less than the deadlines of a default policy, which are no substitute for what is waited for.
HANG: Final = 20.0
