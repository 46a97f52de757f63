"""
A sandbox in its own process, directed by lines of JSON on its standard input.

A line is a script of steps. It runs here, so that a fault lasts as long as intended however busy the
client's process is. The answer is one line, too. The end of the input ends the process.
"""

from __future__ import annotations

import json
import sys
import time

from typing import TYPE_CHECKING, Final, cast

from taxizer_async.testing import Fault, Sandbox


if TYPE_CHECKING:
    from collections.abc import Callable


#: The faults, by their names in scripts.
FAULTS: Final = {
    "429": Fault.status(429),
    "500": Fault.status(500),
    "503": Fault.status(503),
    "503, later": Fault.status(503, headers={"Retry-After": "1"}),
    "drop": Fault.drop_after_processing(),
    "hang": Fault.hang(),
    "hang 0.2 s": Fault.hang(0.2),
    "junk": Fault.junk(b"<html>", content_type="text/html"),
    "no refresh token": Fault.edit(refreshToken=Fault.MISSING),
    "refused": Fault.status(400),
    "reset": Fault.reset(),
    "truncate": Fault.truncate(),
    "unauthorized": Fault.unauthorized(),
}


def main() -> None:
    """Serve until the input ends."""
    with Sandbox(lifetime=float(sys.argv[1])) as sandbox:
        _say({"base_url": sandbox.base_url})
        for line in sys.stdin:
            script = cast("list[list[object]]", json.loads(line))
            began = time.monotonic()
            for name, *arguments in script:
                _STEPS[cast("str", name)](sandbox, *arguments)
            _say({"seconds": time.monotonic() - began, **_counted(sandbox)})


def _fail(sandbox: Sandbox, where: str, fault: str, times: int | None) -> None:
    sandbox.fail(where, FAULTS[fault], times=times)


def _slow_down(sandbox: Sandbox, where: str, seconds: float) -> None:
    setattr(sandbox, f"{where}_latency", seconds)


# A fault's duration is what it is, and no condition to wait for.
_STEPS: Final = cast(
    "dict[str, Callable[..., None]]",
    {
        "fail": _fail,
        "heal": lambda sandbox: sandbox.heal(),
        "last": lambda _, seconds: time.sleep(seconds),
        "revoke": lambda sandbox: sandbox.revoke(),
        "revoke refresh tokens": lambda sandbox: sandbox.revoke_refresh_tokens(),
        "slow down": _slow_down,
    },
)


def _counted(sandbox: Sandbox) -> dict[str, float]:
    now = sandbox.counters
    return {
        "connects": now.connects,
        "connects_ok": now.connects_ok,
        "refreshes": now.refreshes,
        "refreshes_ok": now.refreshes_ok,
        "resources": now.resources,
        "unauthorized": now.unauthorized,
        "reuses": now.reuses,
    }


def _say(answer: dict[str, str] | dict[str, float]) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
