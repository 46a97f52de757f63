"""Test servers, and what calls them."""

from __future__ import annotations

import contextlib

from collections.abc import Iterator
from typing import Any

import pytest

from taxizer_async.testing import Sandbox
from tests.support.raw_server import RawServer, Script, Serve
from tests.support.token_calls import Asker


@pytest.fixture(name="asker")
def _asker(sandbox: Sandbox) -> Asker:
    return Asker(sandbox.base_url)


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as servers:

        def serve(*scripts: Script, **options: Any) -> RawServer:
            return servers.enter_context(RawServer(*scripts, **options))

        yield serve
