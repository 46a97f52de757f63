"""
`python -m tests.campaigns.protocol.run [--only NAME]`: takes the model of the renewal through all its states.

Exits with 1 if a promise of `renewal.pml` can be broken, if a part of the model is never reached, or if one of the
mutations is not found to break its promise. Needs `spin` and `gcc`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs


MODEL: Final = Path(__file__).with_name("renewal.pml")
#: Megabytes and seconds for one search.
MEMORY: Final = 2_000
SECONDS: Final = 600
#: For the search of the shortest way to an assertion that fails, and for that of cycles in which a refresh never ends.
SHORTEST: Final = ("-DBFS", "-DSAFETY")
EXHAUSTIVE: Final = ("-DCOLLAPSE", "-DSAFETY")
CYCLES: Final = ("-DCOLLAPSE", "-DNFAIR=3")
LIVENESS: Final = "d"


@attrs.frozen
class Search:
    """
    A search through all states.

    Attributes:
        promises: The letters of the promises that it is about.
        clients: How many processes share the store.
        tokens: How many tokens the server issues.
        mutation: The name of what is broken in the model.
    """

    promises: str
    clients: int
    tokens: int
    mutation: str | None = None

    @property
    def name(self) -> str:
        return self.mutation or f"{self.promises} {self.clients}x{self.tokens}"

    @property
    def is_of_cycles(self) -> bool:
        return self.promises == LIVENESS


@attrs.frozen
class Found:
    """
    What a search came to.

    Attributes:
        broken: The letter of the promise that does not hold; None if all do.
        steps: How many steps lead there.
        states: How many states were visited.
        seconds: How long that took.
        unreached: The lines of the model that no state reaches.
    """

    broken: str | None
    steps: int
    states: int
    seconds: float
    unreached: tuple[int, ...]


#: Three clients with few tokens, and two with more: three with three tokens have more states than memory holds.
SEARCHES: Final = (
    Search("abce", clients=3, tokens=2),
    Search("abce", clients=2, tokens=4),
    Search(LIVENESS, clients=3, tokens=1),
    Search(LIVENESS, clients=2, tokens=2),
)
#: The way in which each breaks the model is in an `#ifdef` there.
MUTATIONS: Final = tuple(
    Search(promise, clients=2, tokens=2, mutation=name)
    for name, promise in {
        "SENDS_UNMARKED": "a",
        "TRUSTS_A_REFUSED_SAVE": "a",
        "SAVES_WITHOUT_LEASE": "b",
        "LATE_SAVES": "b",
        "TWO_LEASES": "c",
        "TURNS_AFTER_THE_END": "d",
        "WAITS_WITHOUT_END": "d",
        "LOADS_ONCE": "e",
        "SAVES_OUT_OF_ORDER": "e",
    }.items()
)


class NotSearchedError(Exception):
    """A search could not be made, or not be completed."""


def main() -> int:
    """Make each search, and print what it came to."""
    parser = argparse.ArgumentParser(description="Search the model of the renewal.")
    parser.add_argument("--only", help="the name of a search or of a mutation")
    only = parser.parse_args().only
    wanted = [each for each in (*SEARCHES, *MUTATIONS) if only in {None, each.name}]
    if not wanted:
        parser.error(f"there is no {only}")
    # All of them, though one is wrong.
    results = [report(each, search(each)) for each in wanted]
    return 0 if all(results) else 1


def report(wanted: Search, found: Found) -> bool:
    """Print what *wanted* came to; return whether it is as it should be."""
    if wanted.mutation is None:
        is_right = found.broken is None and not found.unreached
        verdict = f"breaks ({found.broken})" if found.broken else "holds"
        verdict += f", but lines {found.unreached} are not reached" if found.unreached else ""
        promises = " ".join(f"({letter})" for letter in wanted.promises)
        tokens = f"{wanted.tokens} token{'s' if wanted.tokens > 1 else ''}"
        subject = f"{promises}, {wanted.clients} clients, {tokens}"
    else:
        is_right = found.broken == wanted.promises
        verdict = f"breaks ({found.broken}) in {found.steps} steps" if found.broken else "is missed"
        subject = wanted.mutation
    mark = "" if is_right else "WRONG: "
    say(f"{mark}{subject}: {verdict}; {found.states:,} states in {found.seconds:.1f} s")
    return is_right


def say(line: str) -> None:
    """Print *line* at once."""
    print(line, flush=True)  # noqa: T201


def search(wanted: Search) -> Found:
    """
    Search all states, or as many as it takes to find a promise broken.

    Raises:
        NotSearchedError: If that could not be done.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MODEL.name).write_bytes(MODEL.read_bytes())
        defines = defines_of(wanted)
        call(folder, "spin", *defines, "-a", MODEL.name)
        call(folder, "gcc", "-O2", f"-DMEMLIM={MEMORY}", *mode(wanted), "-o", "pan", "pan.c")
        began = time.monotonic()
        # Weak fairness: what can go on for ever does so in the end.
        output = call(folder, "./pan", "-m2000000", *(["-a", "-f"] if wanted.is_of_cycles else []))
        seconds = time.monotonic() - began
        return read(
            output, seconds, lambda: call(folder, "spin", *defines, "-t", MODEL.name, may_fail=True)
        )


def defines_of(wanted: Search) -> list[str]:
    """Return the definitions that make the model the one to be searched."""
    names = [*(["TIMED"] if wanted.is_of_cycles else []), *filter(None, [wanted.mutation])]
    counts = [f"-DCLIENTS={wanted.clients}", f"-DTOKENS={wanted.tokens}"]
    return [*(f"-D{name}" for name in names), *counts]


def mode(wanted: Search) -> tuple[str, ...]:
    """Return how `pan` searches; never by hashes, which leave states out."""
    if wanted.is_of_cycles:
        return CYCLES
    return EXHAUSTIVE if wanted.mutation is None else SHORTEST


def call(folder: Path, *command: str, may_fail: bool = False) -> str:
    """Return what *command* prints."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode and not may_fail:
        msg = f"{command[0]} failed: {done.stdout}{done.stderr}"
        raise NotSearchedError(msg)
    return done.stdout


def read(output: str, seconds: float, replay: Callable[[], str]) -> Found:
    """
    Return what `pan` printed as *output*; *replay* shows the way to what is broken.

    Raises:
        NotSearchedError: If it gave up.
    """
    errors = re.search(r"errors: (\d+)", output)
    states = re.search(r"(\S+) states, stored", output)
    complaint = re.search(
        r"error: max search depth|out of memory|pan:\d+: invalid end state", output
    )
    if errors is None or states is None or complaint is not None:
        raise NotSearchedError(output)
    broken = None if errors[1] == "0" else broken_promise(output, replay)
    if broken is None and "Search not completed" in output:
        raise NotSearchedError(output)
    depth = re.search(r"\(at depth (\d+)\)", output)
    return Found(
        broken=broken,
        steps=0 if depth is None else int(depth[1]),
        states=round(float(states[1])),
        seconds=seconds,
        unreached=() if broken else unreached_lines(output),
    )


def broken_promise(output: str, replay: Callable[[], str]) -> str:
    """Return the letter of the promise that is broken."""
    if "acceptance cycle" in output:
        return LIVENESS
    line = re.search(rf"{MODEL.name}:(\d+), Error: assertion violated", replay())
    if line is None:
        raise NotSearchedError(output)
    return promise_at(int(line[1]))


def promise_at(line: int) -> str:
    """Return the letter of the promise that the assertion in *line* of the model keeps."""
    (letter,) = re.findall(r"/\* \((\w)\) \*/", MODEL.read_text("utf-8").splitlines()[line - 1])
    return str(letter)


def unreached_lines(output: str) -> tuple[int, ...]:
    """Return the lines that no state has reached; no process has an end."""
    found = re.findall(rf'{MODEL.name}:(\d+), state \d+, "(.*)"', output)
    return tuple(int(line) for line, text in found if text != "-end-")


if __name__ == "__main__":
    sys.exit(main())
