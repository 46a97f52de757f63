"""Why a mutant may survive: reads `survivors.diff`."""

from __future__ import annotations

from pathlib import Path


def explanations() -> dict[str, str]:
    """Return the reasons, by the diff of the mutant."""
    text = Path(__file__).with_name("survivors.diff").read_text("utf-8")
    reasons = {}
    for section in text.split("\n@@ ")[1:]:
        file, *lines = section.rstrip().split("\n")
        changes = [line for line in lines if line[:1] in {"-", "+"}]
        reasons["\n".join([f"@@ {file}", *changes])] = " ".join(
            line.removeprefix("# ") for line in lines if line.startswith("# ")
        )
    return reasons
