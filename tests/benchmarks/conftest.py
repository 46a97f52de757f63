"""Makes `benchmarks` importable, without the checkout's own package coming along."""

from __future__ import annotations

import importlib.util
import sys

from pathlib import Path


FOLDER = Path(__file__).parents[2] / "benchmarks"

# The suite tests the wheel, so the checkout is not on sys.path.
if "benchmarks" not in sys.modules:
    _spec = importlib.util.spec_from_file_location(
        "benchmarks", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert _spec is not None
    assert _spec.loader is not None
    _package = importlib.util.module_from_spec(_spec)
    sys.modules["benchmarks"] = _package
    _spec.loader.exec_module(_package)
