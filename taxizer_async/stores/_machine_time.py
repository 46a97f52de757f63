"""A time that processes of one machine can compare, across sleeps and restarts of the machine."""

from __future__ import annotations

import time

from pathlib import Path
from typing import Final, Self

import attrs

from taxizer_async._core.clock import boot_time


#: Linux has an identifier for each start of the machine; other systems do not.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen(kw_only=True)
class MachineTime:
    """
    A time by both clocks of the machine.

    Attributes:
        boot: Identifies the machine's last start; empty if unknown.
        uptime: Seconds since then, sleep included.
        wall: Seconds since the Unix epoch, by the machine's clock, which may be wrong.
    """

    boot: str
    uptime: float
    wall: float

    @classmethod
    def now(cls) -> Self:
        """Read the clocks, and a small file of the kernel."""
        try:
            boot = _BOOT_ID.read_text("ascii").strip()
        except (OSError, ValueError):
            boot = ""
        return cls(boot=boot, uptime=boot_time(), wall=time.time())

    @classmethod
    def from_dict(cls, written: dict[str, str | float]) -> Self | None:
        """Rebuild a `MachineTime` from its `attrs.asdict`; None if a field is missing or wrong."""
        boot, uptime, wall = (written.get(name) for name in ("boot", "uptime", "wall"))
        if isinstance(boot, str) and isinstance(uptime, float) and isinstance(wall, float):
            return cls(boot=boot, uptime=uptime, wall=wall)
        return None

    def since(self, earlier: MachineTime) -> float:
        """
        Return the seconds from *earlier* to this one.

        The wall clock, which may have been set meanwhile, is only used if the machine was restarted.
        """
        if self.boot and self.boot == earlier.boot and self.uptime >= earlier.uptime:
            return self.uptime - earlier.uptime
        return max(0.0, self.wall - earlier.wall)
