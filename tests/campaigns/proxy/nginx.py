"""nginx as a proxy of TCP connections: its process, and the faults of its ports."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket

from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, final

from tests.support import families
from tests.support.server_process import attempts


if TYPE_CHECKING:
    from collections.abc import Mapping


#: Where Debian's packages nginx, libnginx-mod-stream and libnginx-mod-stream-js put the modules.
MODULES: Final = Path("/usr/lib/nginx/modules")
FAULTS: Final = ("latency", "jitter", "resets", "half-open", "1 kB/s")

_FILTER: Final = Path(__file__).with_name("faults.js")
#: A request takes several of these, so that a connection can break in the middle of one.
_PIECE: Final = 256
_CONFIG: Final = """
load_module {modules}/ngx_stream_module.so;
load_module {modules}/ngx_stream_js_module.so;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
events {{ worker_connections 4096; }}
stream {{
    js_import faults from {filter};
    proxy_buffer_size {piece};
    proxy_timeout 1h;
    {servers}
}}
"""
_SERVER: Final = (
    "server {{ listen 127.0.0.1:{}; js_filter faults.filter; proxy_pass 127.0.0.1:{}; }}"
)


def find_nginx() -> str | None:
    """Return the program; None if it is not there, or without JavaScript for streams."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    return found if (MODULES / "ngx_stream_js_module.so").exists() else None


@final
class Nginx:
    """
    Passes connections on to *ports* of loopback, each by a port of its own, for the length of a `with`.

    Attributes:
        ports: Its own, by the names that *ports* gave them.
    """

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self.ports: Final = {name: _free_port() for name in ports}
        self._faults = folder / "faults.json"
        servers = [_SERVER.format(own, ports[name]) for name, own in self.ports.items()]
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                modules=MODULES,
                folder=folder,
                filter=_FILTER,
                piece=_PIECE,
                servers="\n    ".join(servers),
            )
        )
        program = find_nginx()
        assert program is not None, "there is no nginx with modules for streams: `nox -s proxy`"
        self._command = [program, "-p", str(folder), "-e", "stderr", "-c", str(config)]
        self._process = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.heal()
        with contextlib.ExitStack() as stack:
            process = stack.enter_context(families.running(self._command))
            for _ in attempts():
                assert process.poll() is None, "nginx has ended"
                if all(map(_listens, self.ports.values())):
                    break
            self._process = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()

    def break_path(self, name: str, fault: str) -> None:
        """Let all that passes the port of that *name* meet *fault*, and all else none."""
        self._switch({self.ports[name]: fault})

    def heal(self) -> None:
        """Let all pass; what a half-open connection has lost stays lost."""
        self._switch({})

    def _switch(self, faults: Mapping[int, str]) -> None:
        # In one piece, as nginx may read it at any time.
        draft = self._faults.with_suffix(".new")
        draft.write_text(json.dumps(faults))
        draft.replace(self._faults)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
