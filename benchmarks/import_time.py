"""
What `import taxizer_async` costs beyond its four dependencies, which a user has loaded anyway.

Fresh processes, interleaved, so that a drift of the machine's speed hits both sides alike.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys


_PREPARE = "import time, httpx, attrs, cattrs, cattrs.gen, anyio, anyio.to_thread; "
_MEASURE = "began = time.perf_counter(); {}; print(time.perf_counter() - began)"
_CASES = {
    "taxizer_async, after its dependencies": _PREPARE + _MEASURE.format("import taxizer_async"),
    "its dependencies": "import time; "
    + _MEASURE.format("import httpx, attrs, cattrs, cattrs.gen, anyio, anyio.to_thread"),
}


def seconds(code: str) -> float:
    """Run *code* in a fresh interpreter and return the seconds that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print the median of each case in ms, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    figures: dict[str, list[float]] = {name: [] for name in _CASES}
    for _ in range(rounds + 1):
        for name, code in _CASES.items():
            figures[name].append(seconds(code))
    medians = {}
    for name, values in figures.items():
        kept = values[1:]  # the first round fills the caches
        medians[name] = statistics.median(kept) * 1000
        spread = f"{min(kept) * 1000:.1f} … {max(kept) * 1000:.1f}"
        print(f"{name}: {medians[name]:.1f} ms (median of {rounds}; {spread})")
    own, base = medians.values()
    print(f"ratio: {own / base:.3f}")


if __name__ == "__main__":
    main()
