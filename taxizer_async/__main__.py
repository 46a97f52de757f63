"""The program's entry point; all it decides is what to say when the extra it needs is missing."""

from __future__ import annotations

import sys

from typing import Final


#: What the extra brings beside the sandbox's server, which not all commands need.
_EXTRA: Final = frozenset({"typer", "rich"})
_USAGE: Final = 2


def main() -> int:
    """Run the command line with the arguments of this process, and return its exit code."""
    try:
        from taxizer_async._cli.app import run  # noqa: PLC0415 - it needs the extra
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name not in _EXTRA:
            raise
    else:
        return run()
    sys.stderr.write(
        f'error: {name} is not installed: pip install "taxizer-async[cli]"\n',
    )
    return _USAGE


if __name__ == "__main__":
    sys.exit(main())
