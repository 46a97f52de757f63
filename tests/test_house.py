"""The rules of the house: which room may import which, and what is public."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys

from graphlib import TopologicalSorter
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

import pytest

import taxizer_async


PACKAGE = Path(taxizer_async.__file__).parent

#: The rooms, and the rooms that each may import from. The root holds the public modules.
ROOMS = {
    "_version": set(),
    "_core": {"_core"},
    "stores": {"_core", "stores"},
    "_token": {"_core", "stores", "_token"},
    "_http": {"_core", "_http", "_version"},
    "_auth": {"_core", "stores", "_token", "_http", "_auth"},
}
ROOMS[""] = {*ROOMS, ""}
ROOMS["testing"] = {*ROOMS, "testing"}
ROOMS["_cli"] = {*ROOMS, "_cli"}
#: Where each library may be named; the parts of a package count as it does.
RESERVED = {
    "httpx": {"_http", "_auth", "_cli"},
    "cattrs": {"_core.codec", "_cli.demo.worker", "invoices"},
    "httpx2": {"httpx2"},
    "aiohttp": {"aiohttp"},
    "opentelemetry": {"otel"},
    "fastapi": {"fastapi"},
    "starlette": {"fastapi"},
    "uvicorn": {"testing"},
    "filelock": {"stores._file_lease"},
    "redis": {"stores._redis_clients"},
    "cryptography": {"stores._encryption"},
    "platformdirs": {"_cli"},
    "typer": {"_cli"},
    "rich": {"_cli"},
}
#: Modules without I/O.
WITHOUT_IO = {
    *("_core.policy", "_http.headers", "_core.codec", "_core.exchange"),
    *("_token.cached_token", "_token.failures", "_token.cache", "_token.places"),
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    .removesuffix("__init__")
    .rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module: str) -> str:
    """Return the room that a module is in; public modules are in the root's."""
    first = module.split(".", maxsplit=1)[0]
    return "_cli" if first == "__main__" else first if first in ROOMS else ""


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
    return {name for name in names if name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module: str) -> None:
    """A module imports from its own room, and from those below it."""
    # "from taxizer_async import x" also names the root, which is no import of its names.
    named = {room(name) for name in internal(MODULES[module]) - {""}}

    assert named <= ROOMS[room(module)]


def test_no_module_imports_what_imports_it() -> None:
    """There is no circle, not even one for the type checker."""
    graph = {
        module: {name for name in internal(path) if not MODULES[name].stem.startswith("__")}
        for module, path in MODULES.items()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(("library", "rooms"), RESERVED.items())
def test_libraries_are_named_in_their_rooms_only(library: str, rooms: set[str]) -> None:
    """httpx, cattrs and each extra are named where the design says, and nowhere else."""
    named = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert {
        each for each in named if not any(f"{each}.".startswith(f"{it}.") for it in rooms)
    } == set()


@pytest.mark.parametrize("module", sorted(WITHOUT_IO))
def test_pure_modules_stay_pure(module: str) -> None:
    """Modules of values and state import neither anyio nor anything that waits."""
    waiting = {"anyio", "asyncio", "httpx", "time", "socket", "pathlib", "random"}
    assert not {name.split(".")[0] for name in imports(MODULES[module])} & waiting


def test_the_root_imports_its_four_dependencies_and_no_extra() -> None:
    """`import taxizer_async` loads httpx, attrs, cattrs and anyio, and no extra."""
    # The four may load more themselves: httpx has a command line.
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
    names = [re.split(r"\W", line)[0] for line in core]
    assert sorted(names) == ["anyio", "attrs", "cattrs", "httpx"]


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


def test_no_test_takes_from_another_folders_conftest() -> None:
    """A test imports from the conftest of its own folder only; what folders share is in tests/support."""
    tests = Path(__file__).parent
    borrowed = {
        f"{path.relative_to(tests)} from {name}"
        for path in tests.rglob("*.py")
        for name in imports(path)
        if name.endswith(".conftest")
        and name != ".".join((*path.relative_to(tests.parent).parts[:-1], "conftest"))
    }
    assert borrowed == set()
