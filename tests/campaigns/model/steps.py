"""The steps of a simulation; each does one thing to its world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxizer_async import TaxizerError, TokenStoreError
from tests.campaigns.model.process import answer, process_request, time_out
from tests.campaigns.model.server import CANARY, LIVES, Mood


if TYPE_CHECKING:
    import random

    from collections.abc import Awaitable, Callable

    import anyio

    from tests.campaigns.model.process import Process
    from tests.campaigns.model.server import Place
    from tests.campaigns.model.simulator import Simulation
    from tests.campaigns.model.world import Call


async def start_a_call(sim: Simulation) -> None:
    sim.start_call(sim.rng.choice(sim.world.processes))


async def start_many_calls(sim: Simulation) -> None:
    process = sim.rng.choice(sim.world.processes)
    for _ in range(sim.rng.randint(2, 6)):
        sim.start_call(process)


async def cancel_a_call(sim: Simulation) -> None:
    calls = sim.world.calls
    waiting = [call for call in calls if call.wants_token]
    if waiting and sim.rng.random() < 0.8:
        await sim.give_up([sim.rng.choice(waiting)])
    elif calls:
        await sim.give_up([sim.rng.choice(calls)])


async def call_impatiently(sim: Simulation) -> None:
    """Many callers ask for a token and give up before it is there, again and again."""
    process = sim.rng.choice(sim.world.processes)
    for _ in range(sim.rng.randint(1, 4)):
        for _ in range(sim.rng.randint(1, 6)):
            sim.start_call(process)
        await sim.settle()
        sim.world.note(f"all callers of {process} give up")
        await sim.give_up(
            call for call in sim.world.calls if call.process is process and call.wants_token
        )
        if sim.rng.random() < 0.5:
            pass_time(sim, sim.rng.choice([0.001, 0.05, 1.0]))
            await sim.settle()


async def cancel_and_answer(sim: Simulation) -> None:
    """Cancel callers and answer an exchange in the same moment."""
    waiting = [call for call in sim.world.calls if call.wants_token]
    leaving = sim.rng.sample(waiting, sim.rng.randint(0, len(waiting)))
    answer_first = sim.rng.random() < 0.5
    if answer_first:
        await answer_an_exchange(sim)
    for call in leaving:
        call.scope.cancel()
    if not answer_first:
        await answer_an_exchange(sim)


async def answer_something(sim: Simulation) -> None:
    """Answer a request, a store call or an exchange."""
    gates: list[anyio.Event] = [call.gate for call in sim.world.calls if call.gate is not None]
    gates += sim.world.shelf.gates
    if gates and sim.rng.random() < 0.6:
        sim.rng.choice(gates).set()
    else:
        await answer_an_exchange(sim)


async def answer_an_exchange(sim: Simulation) -> None:
    pending = sim.world.unanswered()
    if not pending:
        return
    asking = sim.rng.choice(pending)
    mood = sim.world.server.moods[asking.kind]
    if mood is Mood.HANGING:
        return
    sim.world.note(f"{asking.process} {asking.kind}: {mood.name}")
    answer(asking, mood)


async def process_an_exchange(sim: Simulation) -> None:
    """Have the server do what is asked, but not answer yet."""
    pending = sim.world.unanswered()
    if pending:
        asking = sim.rng.choice(pending)
        if sim.world.server.moods[asking.kind] in (Mood.FINE, Mood.EATEN, Mood.HANGING):
            process_request(asking)


def pass_time(sim: Simulation, seconds: float) -> None:
    """Let time pass, and end the exchanges that time out."""
    if sim.world.shelf.gates:
        # A call to the store ends after two seconds, but not before this jump.
        for process in sim.world.processes:
            process.watch.grant(seconds)
    sim.world.clock.advance(seconds)
    sim.world.note(f"{seconds:.3f} s later")
    for asking in sim.world.unanswered():
        if sim.world.clock.monotonic() >= asking.deadline:
            if sim.rng.random() < 0.3:
                process_request(asking)
            time_out(asking)


async def wait_a_moment(sim: Simulation) -> None:
    pass_time(sim, sim.rng.choice([0.001, 0.02, 0.05, 0.3, 1.0]))


async def wait_some_seconds(sim: Simulation) -> None:
    pass_time(sim, sim.rng.choice([2.0, 5.0, 11.0, 20.0, 35.0]))


async def wait_for_a_stage(sim: Simulation) -> None:
    """Let time pass until a token may be renewed, must be renewed, or is over."""
    cached = sim.rng.choice(sim.world.processes).cached
    if cached is None:
        return
    span = cached.schedule
    until = sim.rng.choice([span.renew_after, span.must_after, span.ends_after])
    left = until - cached.age(sim.world.clock) + sim.rng.choice([-0.01, 0.0, 0.01, 1.0])
    if 0 < left < 1e6:
        pass_time(sim, left)


async def wait_long(sim: Simulation) -> None:
    pass_time(sim, sim.rng.choice([100.0, 1_000.0, 100_000.0]))


async def jump(sim: Simulation) -> None:
    seconds = sim.rng.choice([-86_400.0, -100.0, -1.0, 1.0, 50.0, 86_400.0])
    sim.world.clock.jump(seconds)
    sim.world.note(f"the wall clock jumps by {seconds}")


async def revoke_tokens(sim: Simulation) -> None:
    sim.world.server.revoke_tokens()


async def change_rights(sim: Simulation) -> None:
    """Have one place refuse every token, or accept again."""
    place = sim.world.server.places[-1]
    place.lacks_right = not place.lacks_right
    sim.world.note(f"{place.name} {'refuses' if place.lacks_right else 'accepts'}")


async def doubt_a_place(sim: Simulation) -> None:
    """Have a place refuse tokens that another accepts later, then accept again, up to three times."""
    doubted, well = sim.world.server.places[-1], sim.world.server.places[0]
    process = sim.rng.choice(sim.world.processes)
    for _ in range(sim.rng.randint(1, 3)):
        doubted.lacks_right = True
        calls = [await _send(sim, process, where) for where in (doubted, well)]
        for call in calls:
            if call is not None and call.gate is not None:
                call.gate.set()
            await sim.settle()
            await _send(sim, process, well)
        doubted.lacks_right = False
        await answer_an_exchange(sim)
        await sim.settle()
        await _send(sim, process, doubted)


async def _send(sim: Simulation, process: Process, where: Place) -> Call | None:
    """Send a request, and let a moment pass."""
    call = sim.start_call(process, where=where)
    await sim.settle()
    pass_time(sim, 0.02)
    await sim.settle()
    return call


async def revoke_refresh_tokens(sim: Simulation) -> None:
    sim.world.server.live_refresh.clear()


async def change_mood(sim: Simulation) -> None:
    kinds = sim.rng.choice([["connect"], ["refresh"], ["connect", "refresh"]])
    mood = sim.rng.choice(list(Mood))
    for kind in kinds:
        sim.world.server.moods[kind] = mood
    sim.world.note(f"{'/'.join(kinds)} {mood.value}")


async def heal(sim: Simulation) -> None:
    sim.world.server.moods = {"connect": Mood.FINE, "refresh": Mood.FINE}


async def change_life(sim: Simulation) -> None:
    server = sim.world.server
    server.life = sim.rng.choice(LIVES) if sim.rng.random() < 0.7 else LIVES[0]
    server.refresh_life = sim.rng.choice([None, 86_400.0, 1_000.0, 30.0, -5.0])
    sim.world.note(f"life {server.life}, refresh {server.refresh_life}")


async def change_secret(sim: Simulation) -> None:
    """Draw the secret that the server expects, and the one in the vault."""
    secrets = [f"{CANARY}-secret-{number}" for number in range(2)]
    sim.world.server.secret = sim.rng.choice(secrets)
    sim.world.processes[1].given = sim.rng.choice(secrets)


async def right_secret(sim: Simulation) -> None:
    sim.world.server.secret = f"{CANARY}-secret-0"
    sim.world.processes[1].given = sim.world.server.secret


async def break_vault(sim: Simulation) -> None:
    sim.world.processes[1].vault_down = True


async def mend_vault(sim: Simulation) -> None:
    sim.world.processes[1].vault_down = False


async def forget(sim: Simulation) -> None:
    process = sim.rng.choice(sim.world.processes)
    sim.tasks.start_soon(forget_now, sim, process)


async def forget_now(sim: Simulation, process: Process) -> None:
    """Forget the token; the store may be slow."""
    cached, saves = process.cached, sim.world.shelf.saves
    process.watch.clearing += 1
    try:
        await process.provider.forget()
        process.watch.cleared_failures = process.view.failures
        if cached is not None:
            process.watch.forgotten[cached.token.jwt.reveal()] = sim.calls_so_far, saves
    except TokenStoreError:
        if not process.view.down and process.provider._store.failing is None:
            sim.world.violations.append("forget fails only if the store does")
    except TaxizerError as problem:
        process.watch.told(problem)
    finally:
        process.watch.clearing -= 1


async def start_keeper(sim: Simulation) -> None:
    if len(sim.keepers) < 3:
        sim.start_keeper(sim.rng.choice(sim.world.processes))


async def stop_keeper(sim: Simulation) -> None:
    if sim.keepers:
        sim.keepers.pop(sim.rng.randrange(len(sim.keepers))).scope.cancel()


async def break_store(sim: Simulation) -> None:
    view = sim.rng.choice(sim.world.processes).view
    every = ["load", "save", "clear", "lease", "release"]
    view.down = frozenset(sim.rng.choice([every, ["load"], ["save"], ["lease"], ["release"]]))
    sim.world.note(f"store down for {sorted(view.down)}")


async def mend_store(sim: Simulation) -> None:
    for process in sim.world.processes:
        process.view.down = frozenset()
    sim.world.shelf.slow = False


async def slow_store(sim: Simulation) -> None:
    sim.world.shelf.slow = True


async def break_leases(sim: Simulation) -> None:
    for process in sim.world.processes:
        process.view.robbed = True
    sim.world.shelf.break_leases()


async def lend_lease(sim: Simulation) -> None:
    if not sim.world.shelf.leased:
        await sim.world.shelf.lend_to_stranger()


async def return_lease(sim: Simulation) -> None:
    await sim.world.shelf.take_from_stranger()


#: The steps and their weights.
_WEIGHTED: dict[Callable[[Simulation], Awaitable[None]], float] = {
    start_a_call: 24,
    start_many_calls: 6,
    cancel_a_call: 6,
    cancel_and_answer: 2,
    call_impatiently: 4,
    answer_something: 40,
    process_an_exchange: 4,
    wait_a_moment: 12,
    wait_some_seconds: 4,
    wait_for_a_stage: 8,
    wait_long: 1,
    jump: 1,
    revoke_tokens: 3,
    revoke_refresh_tokens: 1,
    change_rights: 3,
    doubt_a_place: 1,
    change_mood: 4,
    heal: 6,
    change_life: 2,
    change_secret: 0.7,
    right_secret: 2,
    break_vault: 0.4,
    mend_vault: 2,
    forget: 2,
    start_keeper: 1,
    stop_keeper: 1,
    break_store: 1,
    mend_store: 2,
    slow_store: 1,
    break_leases: 0.5,
    lend_lease: 0.7,
    return_lease: 1,
}
STEPS = list(_WEIGHTED)
#: An episode without some steps, and with more of others, gets further with those left.
_FACTORS = [0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 5.0]
_ALWAYS = {start_a_call, answer_something, wait_a_moment}


def draw_weights(rng: random.Random) -> list[float]:
    """Return the weights of `STEPS` for one episode."""
    return [
        weight * (1.0 if step in _ALWAYS else rng.choice(_FACTORS))
        for step, weight in _WEIGHTED.items()
    ]
