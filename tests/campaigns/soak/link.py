"""The sandbox's process, as the soak sees it: started, directed and ended."""

from __future__ import annotations

import json
import subprocess
import sys

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

import anyio

from anyio.streams.buffered import BufferedByteReceiveStream


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteSendStream


Step: TypeAlias = tuple[object, ...]

_SERVER: Final = Path(__file__).with_name("server.py")
#: Bytes of an answer at most.
_LINE: Final = 4096
#: Seconds until a process that has nothing more to do is gone.
_ENDS_WITHIN: Final = 20.0


@final
class Link:
    """
    Directs a sandbox in another process; one script at a time.

    Attributes:
        base_url: Where it serves.
        pid: Its process.
        counters: What it had counted when the last script was done.
    """

    def __init__(self, stdin: ByteSendStream, stdout: BufferedByteReceiveStream, pid: int) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self.pid: Final = pid
        self.base_url = ""
        self.counters: dict[str, int] = {}

    async def greet(self) -> None:
        """Return once it serves."""
        self.base_url = cast("str", (await self._answer())["base_url"])

    async def play(self, *steps: Step) -> float:
        """Have *steps* carried out, and return how many seconds that took."""
        await self._stdin.send(f"{json.dumps(steps)}\n".encode())
        answer = await self._answer()
        seconds = cast("float", answer.pop("seconds"))
        self.counters = cast("dict[str, int]", answer)
        return seconds

    async def _answer(self) -> dict[str, Any]:
        line = await self._stdout.receive_until(b"\n", _LINE)
        return cast("dict[str, Any]", json.loads(line))


@asynccontextmanager
async def sandbox_process(lifetime: float) -> AsyncIterator[Link]:
    """Run a sandbox that issues tokens for *lifetime* seconds."""
    # -P keeps the script's folder off the path, where a module may hide one of the standard library.
    command = [sys.executable, "-P", str(_SERVER), str(lifetime)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdout = BufferedByteReceiveStream(process.stdout)
        link = Link(process.stdin, stdout, process.pid)
        try:
            await link.greet()
            yield link
        finally:
            with anyio.CancelScope(shield=True):
                await process.stdin.aclose()
                with anyio.move_on_after(_ENDS_WITHIN) as scope:
                    await process.wait()
                if scope.cancelled_caught:
                    process.kill()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
