"""The rules of the house: who may import whom, and what the outside sees."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

import pytest

import taxizer_async


PACKAGE = Path(taxizer_async.__file__).parent

#: Imports run downward only: a module may import those on lower floors.
FLOORS = [
    {
        "_version",
        "_errors",
        "_headers",
        "_clock",
        "_answer",
        "_network_errors",
        "_event_loops",
        "_http_library",
    },
    {"_models", "_events", "_policy", "_base_url", "_threads", "stores._moment"},
    {"_outcomes", "stores._protocol"},
    {"_reporter", "_codec"},
    {"stores._memory", "stores._envelope", "stores._redis_clients"},
    {"stores", "stores._private_directory"},
    {"stores.file", "stores.redis"},
    {"_token", "_store_choice"},
    {"_exchange"},
    {"_arguments"},
    {"_bearer"},
    {"_flow", "_client_options"},
    {"_auth", "_response_hooks"},
    {"_client"},
    {"httpx2", "aiohttp", "fastapi", "otel"},
    {""},
    {"testing"},
    {"_serve", "_cli_output", "_cli_options", "_demo_crowd"},
    {"_cli_store", "_demo_incidents", "_demo_worker"},
    {"_demo_fleet"},
    {"_demo_store"},
    {"_demo"},
    {"_demo_display"},
    {"_cli"},
    {"__main__"},
]
#: Where these may be named.
RESERVED = {
    "httpx": {"_base_url", "_exchange", "_arguments", "_auth", "_client", "_demo_crowd"},
    "cattrs": {"_codec"},
    "httpx2": {"httpx2"},
    "aiohttp": {"aiohttp"},
    "opentelemetry": {"otel"},
    "fastapi": {"fastapi"},
    "starlette": {"fastapi"},
    "uvicorn": {"testing"},
    "filelock": {"stores.file"},
    "redis": {"stores._redis_clients"},
    "cryptography": {"stores._envelope"},
    "typer": {"_cli", "_cli_options", "_cli_output", "_cli_store"},
    "rich": {"_cli_output", "_demo_display"},
}
#: What asks nothing of the network or the disk.
WITHOUT_IO = {
    *("_policy", "_headers", "_codec", "_outcomes"),
    *("_token.cached_token", "_token.failures", "_token.places", "_token.cache"),
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module: str) -> str:
    """Files of the sandbox, and of the life of a token, may import each other."""
    first = module.split(".", maxsplit=1)[0]
    return first if first in ("testing", "_token") else module


def imports(path: Path) -> set[str]:
    """All modules that a file names, also those for the type checker only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def internal(path: Path) -> set[str]:
    names = {
        name.removeprefix("taxizer_async").lstrip(".")
        for name in imports(path)
        if name.split(".")[0] == "taxizer_async"
    }
    return {room(name) for name in names if name in MODULES}


def test_every_module_has_a_floor() -> None:
    """A new module is put on a floor before anybody imports it."""
    assert {room(module) for module in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module: str) -> None:
    """A module imports from lower floors only."""
    floor = next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)
    below = set().union(*FLOORS[:floor]) | {room(module)}
    # Naming a package on the way to a part of it is no import of what it re-exports.
    named = internal(MODULES[module]) - {""}
    if module.startswith("stores"):
        named.discard("stores")

    assert named <= below


@pytest.mark.parametrize(("library", "rooms"), RESERVED.items())
def test_libraries_are_named_in_their_rooms_only(library: str, rooms: set[str]) -> None:
    """httpx, cattrs and each extra are named where the design says, and nowhere else."""
    named = {
        room(module)
        for module, path in MODULES.items()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert named == rooms


@pytest.mark.parametrize("module", sorted(WITHOUT_IO))
def test_pure_modules_stay_pure(module: str) -> None:
    """What is arithmetic and state imports neither anyio nor anything that waits."""
    waiting = {"anyio", "asyncio", "httpx", "time", "socket", "pathlib", "random"}
    assert not {name.split(".")[0] for name in imports(MODULES[module])} & waiting


def test_the_root_imports_its_four_dependencies_and_no_extra() -> None:
    """`import taxizer_async` loads httpx, attrs, cattrs and anyio, and nothing of an extra's."""
    # What the four load themselves (httpx has a command line of its own) is not ours to judge.
    code = (
        "import sys, httpx, attrs, cattrs, anyio; before = set(sys.modules); import taxizer_async; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    added = set(done.stdout.split())

    # anyio looks for sniffio by itself.
    assert added - sys.stdlib_module_names <= {"taxizer_async", "anyio", "sniffio"}


def test_the_core_has_four_dependencies() -> None:
    """Everything else is an extra."""
    core = [line for line in requires("taxizer-async") or () if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in core) == ["anyio", "attrs", "cattrs", "httpx"]


@pytest.mark.parametrize("name", ["taxizer_async", "taxizer_async.stores", "taxizer_async.testing"])
def test_public_names_are_complete_and_sorted(name: str) -> None:
    """`__all__` names what a public module offers, each once, in order."""
    module = importlib.import_module(name)
    exported = list(module.__all__)
    assert exported == sorted(set(exported), key=lambda n: (not n.isupper(), n.lstrip("_") != n, n))
    assert all(hasattr(module, each) for each in exported)


def test_types_are_shipped() -> None:
    """The package says that it is typed."""
    assert (files("taxizer_async") / "py.typed").is_file()


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_lives_in_it(module: str) -> None:
    """A module opens with a docstring; one with code in it is short enough to be read."""
    text = MODULES[module].read_text("utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert text.count("\n") <= 400
