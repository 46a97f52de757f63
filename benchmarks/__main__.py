"""
Runs the benchmarks: `python -m benchmarks [--quick] [--only NAME] [--output FOLDER]`.

A full run of all scenarios writes results.md beside this file, and the plots and the summary of the documentation. A
quick run, or one of a single scenario, only prints unless --output is given.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time

from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import machine, plots
from benchmarks.bench import FULL, QUICK
from benchmarks.field import SUMMARY
from benchmarks.report import Section, claim_table, page, plain, with_summary
from benchmarks.scenarios import (
    celery,
    crowd,
    fleet,
    hot,
    impatient,
    imports,
    loops,
    memory,
    outage,
    renewal,
    requests,
    revocation,
    sick_refresh,
    simulated,
    stampede,
    sync,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.bench import Scale


_HERE: Final = Path(__file__).parent
_DOCS: Final = _HERE.parent / "docs"
_SCENARIOS: Final[dict[str, Callable[[Scale], Section]]] = {
    "hot": hot.run,
    "requests": requests.run,
    "stampede": stampede.run,
    "impatient": impatient.run,
    "revocation": revocation.run,
    "renewal": renewal.run,
    "fleet": fleet.run,
    "crowd": crowd.run,
    "simulated": simulated.run,
    "outage": outage.run,
    "sick-refresh": sick_refresh.run,
    "import": imports.run,
    "memory": memory.run,
    "loops": loops.run,
    "sync": sync.run,
    "celery": celery.run,
}


def main() -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it, to see that it works")
    parser.add_argument("--only", choices=list(_SCENARIOS), action="append")
    parser.add_argument("--output", type=Path, help="a folder for results.md and plots/")
    wanted = parser.parse_args()
    # The libraries' warnings are expected.
    logging.basicConfig(handlers=[logging.NullHandler()])
    scale = QUICK if wanted.quick else FULL
    # Keeps the imported modules out of every garbage collection.
    gc.freeze()
    names = wanted.only or list(_SCENARIOS)
    began = time.monotonic()
    sections = [_measure(name, scale) for name in names]
    took = time.monotonic() - began
    if any(section.claims for section in sections):
        print(plain(claim_table(sections)))
    print(f"\n{took:.0f} s")
    rounds = f"{scale.rounds}, {scale.many} of what is short, {scale.fine} of whole requests"
    facts = machine.facts(took, rounds)
    if wanted.output is not None:
        _write(sections, facts, wanted.output, wanted.output / "plots")
    elif not (wanted.quick or wanted.only):
        results = _write(sections, facts, _HERE, _DOCS / "assets" / "plots")
        quoting = _DOCS / "benchmarks.md"
        quoting.write_text(with_summary(quoting.read_text("utf-8"), results), "utf-8")
    return 0


def _write(
    sections: Sequence[Section], facts: Mapping[str, str], output: Path, pictures: Path
) -> str:
    """Write results.md into *output* and its plots into *pictures*; return what results.md says."""
    captions = plots.draw(sections, pictures)
    links = {
        Path(os.path.relpath(pictures / file, output)).as_posix(): caption
        for file, caption in captions.items()
    }
    text = page(sections, facts, links, SUMMARY)
    (output / "results.md").write_text(text, "utf-8")
    print(f"written to {output / 'results.md'}")
    return text


def _measure(name: str, scale: Scale) -> Section:
    began = time.monotonic()
    section = _SCENARIOS[name](scale)
    print(f"\n## {section.title} ({time.monotonic() - began:.0f} s)")
    for table in section.tables:
        print(f"\n{plain(table)}")
    for remark in section.remarks:
        print(f"\n- {remark}")
    print(flush=True)
    return section


if __name__ == "__main__":
    sys.exit(main())
