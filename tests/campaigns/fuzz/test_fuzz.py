"""The same 150 inputs for each target; `nox -s fuzz` feeds 200,000 others."""

from __future__ import annotations

import logging

from contextlib import nullcontext
from typing import Any

import anyio
import attrs
import pytest

from taxizer_async import AuthError
from tests.campaigns.fuzz import campaign, run
from tests.campaigns.fuzz.campaign import Campaign, Feed, Target
from tests.campaigns.fuzz.run import TARGETS
from tests.campaigns.fuzz.verdict import CANARY, BrokenError, judge


# An answer that is left early must not leave a generator behind; trio warns of it.
pytestmark = pytest.mark.filterwarnings("error:Async generator 'httpx._models:ResourceWarning")

SEED = 1
INPUTS = 150

BY_NAME = {target.name: target for target in TARGETS}

#: Inputs that once broke a rule.
FOUND: list[tuple[str, Any]] = [
    # httpx decodes a host in Punycode, and encodes a path, without regard to what that raises.
    ("base-url", "https://xn--a"),
    ("base-url", "https://xn--99999999"),
    ("base-url", "https://api.example/\ud800"),
    # A zone that is not ASCII passed for a host until it was compared with another.
    ("base-url", "https://[::1%\U0001f4a5]"),
    ("arguments", {"to": "TaxizerAuth", "base_url": {"url": "https://[::1%\U0001f4a5]"}}),
    # A record without one of its fields raised KeyError, instead of counting as damaged.
    (
        "record",
        (
            b'{"format": 1, "base_url": "https://api.example", "client_id": "app", "written": {}, '
            b'"version": "v1", "lifetime": 60.0, "age": 0.0, "refresh_spent": false, '
            b'"token": {"jwtToken": "j"}}'
        ),
    ),
    # Arguments of the wrong type were accepted, and failed in use.
    ("arguments", {"to": "TaxizerAuth", "extra_origins": "None"}),
    ("arguments", {"to": "TaxizerClient", "extra_origins": "secret"}),
    ("arguments", {"to": "TaxizerAuth", "clock": "object"}),
    ("arguments", {"to": "TaxizerAuth", "clock": "0"}),
    ("arguments", {"to": "TaxizerAuth", "policy": "no dict"}),
    ("arguments", {"to": "TaxizerClient", "http_client": "0"}),
    # A store that gives something else than it should made the request fail.
    ("arguments", {"to": "TaxizerAuth", "store": "async mock"}),
    ("arguments", {"to": "TaxizerAuth", "store": "store of text"}),
    ("arguments", {"to": "TaxizerAuth", "store": "store of mocks"}),
    # A secret in place of a path, or in a URL, was in the frames of a traceback.
    ("environment", {"TAXIZER_CLIENT_ID_FILE": f"/{CANARY}"}),
    (
        "environment",
        {
            "TAXIZER_CLIENT_ID": "app",
            "TAXIZER_CLIENT_SECRET": CANARY,
            "TAXIZER_BASE_URL": f"https://user:{CANARY}@api.example",
        },
    ),
]


async def _check(target: Target, backend: str) -> None:
    outcomes = await Campaign(SEED, backend).run(target, range(INPUTS))

    assert outcomes.total() == INPUTS
    assert target.kinds <= set(outcomes)


@pytest.mark.parametrize("target", [pytest.param(t, id=t.name) for t in TARGETS if t.on_loop])
async def test_only_typed_errors_leave_an_event_loop(
    target: Target, anyio_backend_name: str
) -> None:
    """Every input leads in time to a result or a typed error that shows no secret."""
    await _check(target, anyio_backend_name)


@pytest.mark.parametrize("target", [pytest.param(t, id=t.name) for t in TARGETS if not t.on_loop])
def test_only_typed_errors_leave(target: Target) -> None:
    """The same holds where the event loop does not matter."""
    anyio.run(_check, target, "asyncio")


@pytest.mark.parametrize(("name", "given"), FOUND)
async def test_what_was_found_stays_mended(name: str, given: Any) -> None:
    """An input that once broke a rule breaks none."""
    with anyio.fail_after(campaign.DEADLINE), BY_NAME[name].start() as feed:
        assert await feed(given)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_an_input_can_be_had_again(target: Target) -> None:
    """An input follows from the seed, the target and its number, and from nothing else."""
    first, again = Campaign(SEED, "asyncio"), Campaign(SEED, "trio")
    inputs = [repr(first.draw(target, number)) for number in range(40)]

    assert inputs == [repr(again.draw(target, number)) for number in range(40)]
    assert inputs != [repr(Campaign(SEED + 1, "trio").draw(target, n)) for n in range(40)]


def test_every_share_is_counted() -> None:
    """The shares of the targets add up to one."""
    assert sum(target.share for target in TARGETS) == pytest.approx(1.0)


def _target(feed: Feed) -> Target:
    return attrs.evolve(BY_NAME["timestamp"], start=lambda: nullcontext(feed))


async def _leaks_key_error(given: str) -> str:
    raise KeyError(given)


async def _hangs(_: str) -> str:
    await anyio.sleep_forever()
    return ""


async def _logs_secret(_: str) -> str:
    logging.getLogger("taxizer_async").debug("sent %s", CANARY)
    return ""


async def _leaves_a_task(_: str) -> str:
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    return ""


async def _fails_in_finalizer(_: str) -> str:
    class Failing:
        def __del__(self) -> None:
            raise KeyError(CANARY)

    Failing()
    return ""


@pytest.mark.parametrize(
    ("feed", "rule"),
    [
        (_leaks_key_error, "KeyError"),
        (_hangs, "an input is dealt with in 0.05 s"),
        (_logs_secret, "the log shows a secret"),
        (_leaves_a_task, "never retrieved"),
        (_fails_in_finalizer, "KeyError"),
    ],
)
async def test_a_broken_rule_is_told_with_its_input(
    feed: Feed, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first input that breaks a rule ends the run, which says how to feed it again."""
    monkeypatch.setattr(campaign, "DEADLINE", 0.05)

    with pytest.raises(BrokenError, match=rule) as caught:
        await Campaign(7, "trio").run(_target(feed), range(3, 9))

    assert "--seed 7 --target timestamp --backend trio --only 3" in str(caught.value)


def _raised(error: Exception) -> Exception:
    try:
        try:
            raise KeyError(CANARY)
        finally:
            raise error
    except AuthError as caught:
        return caught


def test_a_secret_in_an_error_is_found() -> None:
    """A typed error that shows a secret, or is chained to one that does, breaks a rule."""
    assert judge(AuthError("no token")) == "AuthError"
    for error in (AuthError(CANARY), AuthError("", endpoint=CANARY), _raised(AuthError(""))):
        with pytest.raises(BrokenError, match="no secret is seen"):
            judge(error)


def test_a_run_divides_its_inputs_among_loops(capsys: pytest.CaptureFixture[str]) -> None:
    """The command feeds as many inputs as it was told, half on each loop where that matters."""
    status = run.main(["--inputs", "60", "--seed", "5", "--target", "exchange"])
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines()]

    assert status == 0
    assert [row[1:3] for row in rows if row[0] == "exchange"] == [["asyncio", "30"], ["trio", "30"]]
    assert "clean: 60 inputs from seed 5" in told


def test_a_run_ends_at_a_broken_rule(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command exits with 1 at the first broken rule, and prints the seed and the input."""
    monkeypatch.setattr(run, "TARGETS", (_target(_leaks_key_error),))
    status = run.main(["--inputs", "9", "--seed", "5"])
    told = capsys.readouterr().out

    assert status == 1
    assert "--seed 5 --target timestamp --backend asyncio --only 0" in told
    assert "clean" not in told
