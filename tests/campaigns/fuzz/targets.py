"""All ways in."""

from __future__ import annotations

from typing import Final

from tests.campaigns.fuzz.arguments import ARGUMENTS
from tests.campaigns.fuzz.auth import AUTH
from tests.campaigns.fuzz.codec import CODEC
from tests.campaigns.fuzz.environment import ENVIRONMENT
from tests.campaigns.fuzz.exchange import EXCHANGE
from tests.campaigns.fuzz.heads import HEADS
from tests.campaigns.fuzz.urls import URLS
from tests.campaigns.fuzz.wire import WIRE


TARGETS: Final = (*CODEC, *HEADS, *URLS, *ARGUMENTS, *ENVIRONMENT, *EXCHANGE, *AUTH, *WIRE)
