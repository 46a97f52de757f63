from __future__ import annotations

from pathlib import Path

import taxizer_async

from tests.campaigns.mutation.survivors import explanations


PACKAGE = Path(taxizer_async.__file__).parent


def test_a_survivor_is_explained_as_long_as_its_code_is_there() -> None:
    """What `survivors.diff` explains has a reason, and changes lines that the module has."""
    for diff, reason in explanations().items():
        where, *changes = diff.removeprefix("@@ ").split("\n")
        file = where.partition(" ")[0]
        old = [line[1:] for line in changes if line.startswith("-")]

        assert reason, diff
        assert old, diff
        assert set(old) <= set((PACKAGE / file).read_text("utf-8").splitlines()), diff
