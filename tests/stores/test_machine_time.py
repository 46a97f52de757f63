from __future__ import annotations

import attrs
import pytest

from taxizer_async.stores._machine_time import MachineTime


NOW = MachineTime(boot="b-1", uptime=1_000.0, wall=1_800_000_000.0)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"uptime": 990.0, "wall": NOW.wall - 10.0}, 10.0),
        # The wall clock was set, either way.
        ({"uptime": 990.0, "wall": NOW.wall - 3_610.0}, 10.0),
        ({"uptime": 990.0, "wall": NOW.wall + 3_590.0}, 10.0),
        # The machine was restarted: only the wall clock knows, and may know wrong.
        ({"boot": "b-0", "uptime": 990.0, "wall": NOW.wall - 7_200.0}, 7_200.0),
        ({"boot": "b-0", "uptime": 990.0, "wall": NOW.wall + 7_200.0}, 0.0),
        # Starts without an identifier, or a container with its own uptime.
        ({"boot": "", "uptime": 990.0, "wall": NOW.wall - 20.0}, 20.0),
        ({"uptime": 2_000.0, "wall": NOW.wall - 20.0}, 20.0),
    ],
)
def test_the_uptime_counts_where_it_can(changes: dict[str, str | float], seconds: float) -> None:
    """The time since an earlier moment is right, whatever happened to the clocks."""
    earlier = attrs.evolve(NOW, **changes)  # type: ignore[arg-type]
    now = attrs.evolve(NOW, boot="") if changes.get("boot") == "" else NOW

    assert now.since(earlier) == pytest.approx(seconds)


def test_it_is_restored_from_what_it_was_written_as() -> None:
    """A time survives a dict; anything else gives None."""
    assert MachineTime.from_dict(attrs.asdict(NOW)) == NOW
    for name in ("boot", "uptime", "wall"):
        written = attrs.asdict(NOW)
        del written[name]
        assert MachineTime.from_dict(written) is None
        assert MachineTime.from_dict(written | {name: []}) is None


def test_time_goes_on() -> None:
    """Two times of this machine can be compared."""
    first = MachineTime.now()
    later = MachineTime.now()

    assert later.boot == first.boot
    assert 0 <= later.since(first) < 5
