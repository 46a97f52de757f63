"""How long a test waits for what has to come."""

from __future__ import annotations

from typing import Final


#: Seconds after which a wait is a hang: far more than a slow machine needs that is busy with other tests,
#: and less than an exchange has by default, and than the run of the breakages allows a test.
HANG: Final = 15.0
