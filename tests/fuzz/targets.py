"""All ways in."""

from __future__ import annotations

from typing import Final

from tests.fuzz.arguments import ARGUMENTS
from tests.fuzz.auth import AUTH
from tests.fuzz.codec import CODEC
from tests.fuzz.environment import ENVIRONMENT
from tests.fuzz.exchange import EXCHANGE
from tests.fuzz.heads import HEADS
from tests.fuzz.urls import URLS
from tests.fuzz.wire import WIRE


TARGETS: Final = (*CODEC, *HEADS, *URLS, *ARGUMENTS, *ENVIRONMENT, *EXCHANGE, *AUTH, *WIRE)
