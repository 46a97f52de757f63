"""The first call in a process does not block the event loop."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from taxizer_async.testing import Sandbox


PROGRAM = """
import json, ssl, sys, threading

import anyio, httpx
from taxizer_async import Credentials, TaxizerAuth

base_url, backend = sys.argv[1:]
loops_thread = threading.get_ident()
blocking = {"open", "import", "os.listdir", "os.scandir", "time.sleep"}
watching, seen = False, []

def look(event, arguments):
    if watching and event in blocking and threading.get_ident() == loops_thread:
        seen.append(f"{event} {arguments[0]}")

sys.addaudithook(look)

wanted, loop_goes_on, read = threading.Event(), threading.Event(), []
read_bundle = ssl.create_default_context

def read_bundle_late(*arguments, **options):
    wanted.set()
    read.append(loop_goes_on.wait(20))
    return read_bundle(*arguments, **options)

ssl.create_default_context = read_bundle_late

async def go_on():
    await anyio.to_thread.run_sync(wanted.wait, 20)
    loop_goes_on.set()

async def main():
    global watching
    auth = TaxizerAuth(Credentials("sandbox-client", "sandbox-secret"), base_url=base_url)
    async with httpx.AsyncClient(auth=auth, verify=False) as client:
        # What httpx and the loop themselves load at a first request is not ours to judge.
        await client.get(base_url.replace("127.0.0.1", "localhost") + "/v1/warm-up")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go_on)
            await anyio.lowlevel.checkpoint()
            watching = True
            answer = await client.get(base_url + "/v1/echo")
            watching = False
    assert answer.status_code == 200
    print(json.dumps({"the loop has blocked in": seen, "the loop went on": read}))

anyio.run(main, backend=backend)
"""


@pytest.mark.invariant(23)
@pytest.mark.report(30)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_first_login_does_not_block_the_loop(sandbox: Sandbox, backend: str) -> None:
    """The first login of a process reads no file in its loop's thread, which goes on meanwhile."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, sandbox.base_url, backend]
    done = subprocess.run(command, capture_output=True, check=True, timeout=50, text=True)

    assert json.loads(done.stdout) == {"the loop has blocked in": [], "the loop went on": [True]}
    assert sandbox.counters.connects_ok == 1
