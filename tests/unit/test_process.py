"""Values that a forked child makes anew."""

from __future__ import annotations

import gc
import os
import weakref

import pytest

from taxizer_async._core.process import PerProcess
from tests.unit.conftest import InChild


class Value:
    """Something that can be referred to weakly."""


def test_a_process_makes_its_value_once() -> None:
    """Each call of `get` returns the value that was made at the start."""
    own = PerProcess(Value)

    assert own.get() is own.get()
    assert not own.is_inherited


def test_a_child_makes_its_own(in_child: InChild) -> None:
    """A forked child finds an inherited value, and gets a new one; the parent keeps its own."""
    own = PerProcess(Value)
    before = own.get()

    assert in_child(lambda: own.is_inherited and own.get() is not before and not own.is_inherited)
    assert own.get() is before


def test_an_inherited_value_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's value is not collected in the child, as that could end what the parent uses."""
    own = PerProcess(Value)
    inherited = weakref.ref(own.get())
    monkeypatch.setattr(os, "getpid", lambda: 0)
    replaced = own.get()
    gc.collect()

    assert inherited() is not None
    assert replaced is not inherited()
    assert own.get() is replaced
