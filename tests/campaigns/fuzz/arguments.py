"""Arguments of `TaxizerAuth` and `TaxizerClient`: of the wrong type, kind or number."""

from __future__ import annotations

import functools

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final
from unittest import mock

import httpx

from taxizer_async import (
    Credentials,
    MemoryTokenStore,
    RenewalPolicy,
    Secret,
    TaxizerAuth,
    TaxizerClient,
)
from taxizer_async.testing import ManualClock
from tests.campaigns.fuzz import urls
from tests.campaigns.fuzz.campaign import Target, always
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.plain_httpx import HttpxRefusesError, httpx_may_refuse, tls_context
from tests.campaigns.fuzz.replies import Server, good_reply
from tests.campaigns.fuzz.verdict import CANARY, judge, kind_of, require


_TOKEN: Final = good_reply(Draw(0))
_PAIR: Final = Credentials("app", CANARY)


async def _gives_pair() -> Credentials:
    return _PAIR


def _fails(*_: object) -> Any:
    raise KeyError(CANARY)


@final
class _Gives:
    """A store with *value* as the answer to every call."""

    def __init__(self, value: Any) -> None:
        self.load = self.save = self.clear = self.lease = mock.AsyncMock(return_value=value)


#: Values by name, as an input holds names; each is made anew.
WRONG: Final[dict[str, Callable[[], Any]]] = {
    "None": lambda: None,
    "0": lambda: 0,
    "-1.5": lambda: -1.5,
    "True": lambda: True,
    "empty": lambda: "",
    "text": lambda: CANARY,
    "surrogate": lambda: "https://a/\udcff",
    "bytes": CANARY.encode,
    "list": lambda: [CANARY],
    "tuple": lambda: ("app", CANARY),
    "dict": lambda: {"client_secret": CANARY},
    "no list": list,
    "no dict": dict,
    "number list": lambda: [1, None],
    "set": set,
    "object": object,
    "type": lambda: Credentials,
    "error": lambda: ValueError,
    "secret": lambda: Secret(CANARY),
    "pair": lambda: _PAIR,
    "path": lambda: Path(CANARY),
    "gives None": lambda: lambda *_: None,
    "gives text": lambda: lambda *_: CANARY,
    "gives a pair": lambda: lambda *_: _PAIR,
    "gives itself a coroutine": lambda: _gives_pair,
    "raises": lambda: _fails,
    "raises, with arguments": lambda: functools.partial(_fails, CANARY),
    "mock": mock.MagicMock,
    "async mock": mock.AsyncMock,
    "generator": lambda: (each for each in (CANARY,)),
    "client": lambda: httpx.AsyncClient(transport=httpx.MockTransport(_fails)),
    "url": lambda: httpx.URL("https://api.example"),
    "store": MemoryTokenStore,
    "store of None": lambda: _Gives(None),
    "store of True": lambda: _Gives(value=True),
    "store of text": lambda: _Gives("text"),
    "store of objects": lambda: _Gives(object()),
    "store of mocks": lambda: _Gives(mock.MagicMock()),
    "policy": RenewalPolicy,
}
_HARMLESS: Final = tuple(name for name, make in WRONG.items() if CANARY not in repr(make()))
#: Arguments that may hold a secret; frames may show the others.
_SECRETIVE: Final = ("credentials", "base_url", "http_client", "extra_origins")
_NAMES: Final = (*_SECRETIVE, "store", "policy", "on_event", "clock")
_MOCKS: Final = ("mock", "async mock")
#: A mock as a clock would give nonsense, and the default clock would take real time.
_CLOCKS: Final = ("None", *_MOCKS)
_CALLABLES: Final = tuple(name for name, make in WRONG.items() if callable(make()))
#: Values that pass the check of an argument, and fail in use.
_PASSABLE: Final = {
    "store": (*_MOCKS, *(name for name in WRONG if name.startswith("store"))),
    "credentials": ("pair", *_CALLABLES),
    "http_client": _CALLABLES,
    "on_event": tuple(name for name in _CALLABLES if name in _HARMLESS),
}
#: The check of each argument that is not None.
_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "credentials": lambda given: isinstance(given, Credentials) or callable(given),
    "http_client": callable,
    "on_event": callable,
    "policy": lambda given: isinstance(given, RenewalPolicy),
    "store": lambda given: callable(getattr(given, "lease", None)),
    "clock": lambda given: callable(getattr(given, "wall", None)),
}
_OPTION_VALUES: Final = tuple(name for name in _HARMLESS if name not in _MOCKS)
_OPTIONS: Final = (
    *("timeout", "headers", "params", "cookies", "limits", "max_redirects", "event_hooks", "auth"),
    *("transport", "mounts", "trust_env", "cert", "proxy", "http1", "http2", "follow_redirects"),
    *("default_encoding", "app", "verify"),
)


def _draw_arguments(draw: Draw) -> dict[str, Any]:
    """Return which class gets the arguments, and for each the name of its value, or a URL."""
    given: dict[str, Any] = {"to": draw.pick(("TaxizerAuth", "TaxizerAuth", "TaxizerClient"))}
    for _ in range(draw.few()):
        name = draw.pick(_NAMES)
        wrong = tuple(WRONG) if name in _SECRETIVE else _HARMLESS
        what = draw.pick(_PASSABLE.get(name, wrong) if draw.chance(0.6) else wrong)
        if name != "clock" or what not in _CLOCKS:
            given[name] = what
    if draw.chance(0.15):
        given["base_url"] = {"url": urls.base_url(draw)}
    if draw.chance(0.1):
        given["extra_origins"] = [urls.base_url(draw) for _ in range(draw.below(3))]
    if given["to"] == "TaxizerClient":
        for _ in range(draw.below(3)):
            given[draw.pick(_OPTIONS)] = draw.pick(_OPTION_VALUES)
    return given


def _made(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, what in given.items():
        if isinstance(what, dict):
            made[name] = what["url"]
        else:
            made[name] = WRONG[what]() if isinstance(what, str) else what
    return made


async def _feed_arguments(given: dict[str, Any]) -> str:
    named = {name: what for name, what in given.items() if name != "to"}
    options: dict[str, Any] = {name: named.pop(name) for name in _OPTIONS if name in named}
    arguments: dict[str, Any] = {
        "credentials": _PAIR,
        # No URL that was drawn may reach a network.
        "http_client": lambda: httpx.AsyncClient(transport=Server(_TOKEN)),
        "clock": ManualClock(autojump=True),
    } | _made(named)
    try:
        auth = _construct(given["to"], arguments, options)
    except HttpxRefusesError:
        return "httpx's own"
    except Exception as error:  # noqa: BLE001 - judged
        return judge(error)
    for name, fits in _FITS.items():
        wrong = arguments.get(name)
        require(wrong is None or fits(wrong), f"{wrong!r} is not taken for {name}")
    if arguments["http_client"] is None:
        return "constructed"
    auth.status()
    repr(auth)
    return f"token: {await kind_of(auth.token())}"


def _construct(kind: str, arguments: dict[str, Any], options: dict[str, Any]) -> TaxizerAuth:
    if kind == "TaxizerAuth":
        return TaxizerAuth(**arguments)
    with httpx_may_refuse(lambda: {"verify": tls_context()} | _made(options)) as made:
        return TaxizerClient(**arguments, **made).auth


ARGUMENTS: Final = (
    Target(
        "arguments",
        0.06,
        _draw_arguments,
        always(_feed_arguments),
        {"ConfigurationError", "token: ok", "token: ConfigurationError"},
        on_loop=True,
    ),
)
