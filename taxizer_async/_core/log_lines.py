"""
The log line of each event: a sentence whose beginning never changes, and a level.

`docs/reference/log-lines.md` lists them. A record also has the event's name as `taxizer_event` and its fields
as `taxizer_<field>`, all plain JSON values. Nothing is rendered for a level that is off.
"""

from __future__ import annotations

import logging

from datetime import UTC, datetime
from typing import Final, TypeAlias

import attrs

from taxizer_async._core import events
from taxizer_async._core.events import Event


_Value: TypeAlias = str | float | datetime | tuple[float, ...] | None

LOG: Final = logging.getLogger("taxizer_async")
# Without it, Python prints warnings to stderr in programs that have set up no logging.
LOG.addHandler(logging.NullHandler())


@attrs.frozen
class LogLine:
    """A sentence with the event's fields in it; what comes before the first of them is its *beginning*."""

    level: int
    text: str

    @property
    def beginning(self) -> str:
        """What to search a log for."""
        return self.text.partition("%(")[0]


LINES: Final[dict[type[Event], LogLine]] = {
    events.LoggedIn: LogLine(
        logging.INFO,
        "logged in at %(endpoint)s in %(elapsed)s; the token lives until %(expires_at)s",
    ),
    events.Renewed: LogLine(
        logging.INFO,
        "renewed at %(endpoint)s in %(elapsed)s; the token lives until %(expires_at)s",
    ),
    events.Adopted: LogLine(
        logging.DEBUG, "adopted a token from the store; it lives until %(expires_at)s"
    ),
    events.RefreshRefused: LogLine(
        logging.WARNING, "renewal failed, so a login follows: %(reason)s"
    ),
    events.ExchangeFailed: LogLine(
        logging.WARNING,
        "renewal failed: %(reason)s; the token is good for %(expires_in)s, next try at %(retry_at)s",
    ),
    events.TokenAwaited: LogLine(
        logging.DEBUG, "callers waited for a token: %(callers)s, for %(waits)s at most"
    ),
    events.LeaseAwaited: LogLine(
        logging.DEBUG, "waited for the lease for %(elapsed)s: %(outcome)s"
    ),
    events.TokenRefused: LogLine(logging.INFO, "token refused with a 401, so it is being renewed"),
    events.Forgotten: LogLine(logging.INFO, "token forgotten, as forget() was called"),
    events.StoreFailed: LogLine(
        logging.WARNING,
        "token store failed in %(operation)s: %(reason)s; this process goes on from memory",
    ),
    events.StoreRecovered: LogLine(logging.INFO, "token store works again"),
    events.OriginSkipped: LogLine(
        logging.WARNING,
        "no token sent to %(origin)s: add it to extra_origins if it belongs to Taxizer",
    ),
}

#: `ExchangeFailed` when callers have no token to go on with.
LOGIN_FAILED: Final = LogLine(
    logging.ERROR,
    "login failed: %(reason)s; there is no usable token, next try at %(retry_at)s",
)
#: `TokenRefused` when no renewal would help.
HANDED_BACK: Final = LogLine(
    logging.WARNING, "token refused with a 401 that is handed back, and no renewal follows"
)

_UNKNOWN: Final = {
    "endpoint": "the API",
    "expires_at": "a time that the server did not name",
    "expires_in": "an unknown time",
}
_OUTCOMES: Final[dict[object, str]] = {
    "acquired": "it became free",
    "served": "another client brought a token or a failure",
    "gave_up": "it never became free",
}


def log_event(event: Event) -> None:
    line = line_of(event)
    if LOG.isEnabledFor(line.level):
        LOG.log(line.level, line.text, _words(event), extra=_extra(event))


def sentence(event: Event) -> str:
    return line_of(event).text % _words(event)


def line_of(event: Event) -> LogLine:
    match event:
        case events.ExchangeFailed(ahead_of_need=False):
            return LOGIN_FAILED
        case events.TokenRefused(renewing=False):
            return HANDED_BACK
        case _:
            return LINES[type(event)]


def _words(event: Event) -> dict[str, str]:
    now = getattr(event, "at", None) or datetime.now(UTC)
    return {name: _word(name, value, now) for name, value in _fields(event).items()}


def _word(name: str, value: _Value, now: datetime) -> str:
    match value:
        case None:
            return _UNKNOWN.get(name, "unknown")
        case datetime():
            shown = _utc(value, "seconds")
            return shown.removeprefix(f"{now.astimezone(UTC).date()}T")
        case float():
            return _seconds(value)
        case tuple():
            return _seconds(max(value, default=0.0))
        case _:
            # The reason that a store of the user's gives may have several lines.
            return _OUTCOMES[value] if name == "outcome" else " ".join(str(value).split())


def _seconds(duration: float) -> str:
    digits = next((n for n, least in ((0, 9.95), (1, 0.995), (2, 0.0995)) if duration >= least), 3)
    return f"{duration:.{digits}f} s"


def _extra(event: Event) -> dict[str, object]:
    return {f"taxizer_{name}": _plain(value) for name, value in _fields(event).items()}


def _plain(value: _Value) -> object:
    match value:
        case datetime():
            return _utc(value, "milliseconds")
        case float():
            return round(value, 3)
        case tuple():
            return [round(each, 3) for each in value]
        case _:
            return value


def _fields(event: Event) -> dict[str, _Value]:
    kind = type(event)
    fields = {field.name: getattr(event, field.name) for field in attrs.fields(kind)}
    return {"event": kind.__name__, **fields}


def _utc(moment: datetime, precision: str) -> str:
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
