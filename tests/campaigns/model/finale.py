"""The end of an episode: the world heals, and then a plain call must succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxizer_async._auth.bearer import UNAUTHORIZED
from tests.campaigns.model.evidence import ACCEPTANCE_COUNTS
from tests.campaigns.model.process import answer
from tests.campaigns.model.server import CANARY, Mood
from tests.campaigns.model.steps import mend_store, pass_time, return_lease


if TYPE_CHECKING:
    from tests.campaigns.model.process import Process
    from tests.campaigns.model.simulator import Simulation


#: A caller that needs more rounds than this is stuck.
_MOST_ROUNDS = 1_200


async def finish(sim: Simulation) -> None:
    """Heal the world, end or cancel what is under way, and have each process send one request."""
    world = sim.world
    world.note("finale")
    world.server.heal()
    world.server.secret = sim.world.processes[1].given = f"{CANARY}-secret-0"
    world.processes[1].vault_down = False
    await mend_store(sim)
    await return_lease(sim)
    for keeper in sim.keepers:
        keeper.scope.cancel()
    if sim.rng.random() < 0.5:
        world.note("all are cancelled")
        await sim.give_up(world.calls)
    await _run_out(sim)
    if world.shelf.leased:
        world.violations.append("no process keeps a lease")
    pass_time(sim, 61.0)
    await sim.settle()
    for process in world.processes:
        await _send_one(sim, process)


async def _send_one(sim: Simulation, process: Process) -> None:
    status = await _answer_to_one(sim, process)
    if status == UNAUTHORIZED:
        # A place with two unlucky 401s is taken for one that refuses what others accept, for a while.
        pass_time(sim, ACCEPTANCE_COUNTS + 1)
        await sim.settle()
        status = await _answer_to_one(sim, process)
    if status != 200:
        sim.world.violations.append(f"a plain call succeeds at last, and is not answered {status}")
    await sim.settle()


async def _answer_to_one(sim: Simulation, process: Process) -> int | None:
    world = sim.world
    call = sim.start_call(process, replayable=True, where=world.server.places[0])
    assert call is not None
    await _run_out(sim)
    # The server draws a 401 without a reason now and then.
    return 200 if call.hoodwinked else call.status


async def _run_out(sim: Simulation) -> None:
    world = sim.world
    for _ in range(_MOST_ROUNDS):
        await sim.settle()
        gates = [*world.shelf.gates, *(call.gate for call in world.calls if call.gate)]
        pending = world.unanswered()
        for gate in gates:
            gate.set()
        for asking in pending:
            answer(asking, Mood.FINE)
        if not gates and not pending:
            busy = [process for process in world.processes if process.is_busy]
            if not world.calls and not busy:
                return
            pass_time(sim, 0.1)
    world.violations.append(f"{len(world.calls)} calls and the refreshes end once all is well")
    await sim.settle()
