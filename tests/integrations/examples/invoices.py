"""Batches of signed invoices, and what the API may say of one."""

from __future__ import annotations

import json

from pathlib import Path
from typing import Any, Final
from uuid import uuid4


REFUSED: Final[dict[str, Any]] = {
    "status": "failed",
    "errorMessages": [{"type": "ERROR", "code": "BR-KSA-13"}],
}
WARNED: Final[dict[str, Any]] = {
    "status": "completed",
    "warningMessages": [{"type": "WARNING", "code": "BR-KSA-98"}],
}


def batch(folder: Path, count: int) -> Path:
    """Return the path of a file that names *count* invoices."""
    xml = folder / "invoice.xml"
    xml.write_text("<Invoice/>", "utf-8")
    lines = [
        {
            "uuid": str(uuid4()),
            "device_id": str(uuid4()),
            "invoice_number": f"INV-{number}",
            "file": str(xml),
        }
        for number in range(count)
    ]
    path = folder / "invoices.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path
