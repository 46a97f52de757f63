"""Ways to break the stores outside this process; see `breakages`, of which they are a part."""

from __future__ import annotations

from typing import Final

from tests.campaigns.mutants.breakages import read_breakages


STORE_BREAKAGES: Final = read_breakages("store_breakages.diff")
