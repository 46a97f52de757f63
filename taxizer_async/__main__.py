"""The entry point of the command line, which names the extra that it needs if that is missing."""

from __future__ import annotations

import sys

from typing import Final

from taxizer_async._cli.exit_codes import ExitCode


#: The command line imports these from its extra; the commands that need the sandbox's server import that.
_EXTRA: Final = frozenset({"platformdirs", "rich", "typer"})


def main() -> int:
    """Run the command line with the arguments of this process, and return its exit code."""
    try:
        return _run()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _run() -> int:
    try:
        from taxizer_async._cli.app import run  # noqa: PLC0415 - it needs the extra
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name not in _EXTRA:
            raise
    else:
        return run()
    sys.stderr.write(f'error: {name} is not installed: pip install "taxizer-async[cli]"\n')
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main())
