"""The environment, as `Credentials.from_env` and `TaxizerClient.from_env` read it."""

from __future__ import annotations

import os
import tempfile

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import httpx

from taxizer_async import Credentials, TaxizerClient
from taxizer_async.testing import ManualClock
from tests.campaigns.fuzz import urls
from tests.campaigns.fuzz.campaign import Feed, Target
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.plain_httpx import HttpxRefusesError, httpx_may_refuse, tls_context
from tests.campaigns.fuzz.replies import Server, good_reply
from tests.campaigns.fuzz.verdict import CANARY, judge, kind_of, require, shows_canary


_TOKEN: Final = good_reply(Draw(0))
_ID, _SECRET, _URL = "TAXIZER_CLIENT_ID", "TAXIZER_CLIENT_SECRET", "TAXIZER_BASE_URL"
_CONTENTS: Final = {
    "good": f"{CANARY}\n".encode(),
    "marked": b"\xef\xbb\xbf" + CANARY.encode() + b"\r\n",
    "empty": b"",
    "blank": b" \r\n\r\n",
    "binary": CANARY.encode() + bytes(range(256)),
    "nul": f"\0{CANARY}\0".encode(),
    "lines": f"{CANARY}\n{CANARY}\n".encode(),
    "huge": CANARY.encode() + b"a" * 4_000_000,
}
#: Paths at which there is no file that can be read.
_PLACES: Final = (
    *(".", "missing", "missing/below", "good/below", "good/", "loop", "broken", "wide", "a" * 300),
    *("locked/below",),
    *("/".join(["a"] * 3000), "/proc/self/mem", "/dev/null", f"/{CANARY}", CANARY, "~", "$HOME"),
    *("\udcff",),
)
# httpx alone judges them, and no request is sent through them.
_PROXIES: Final = (
    *("http://127.0.0.1:1", f"ftp://user:{CANARY}@127.0.0.1:1", f"http://{CANARY}:x", "://"),
    *("\udcff",),
    *("http://xn--a", "socks5://127.0.0.1:1", "[", " ", "127.0.0.1:99999"),
)
_NETWORK: Final = ("HTTP_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy")


def environ_text(text: str) -> str:
    """Return *text* without what an environment can't hold."""
    return os.fsdecode(text.encode("utf-8", "surrogatepass").replace(b"\0", b""))


def _draw_environment(draw: Draw) -> dict[str, str]:
    """Return variables; a path is relative to the folder of files."""
    given = {}
    for name in (_ID, _SECRET):
        kind = draw.random.random()
        if kind < 0.4:
            text = draw.pick((CANARY, f" {CANARY}\r\n")) if draw.chance(0.5) else draw.text()
            # A clientId is no secret.
            given[name] = text.replace(CANARY, "app") if name == _ID else text
        if kind > 0.35 and draw.chance(0.95):
            given[f"{name}_FILE"] = _path(draw)
    if draw.chance(0.5):
        given[_URL] = urls.base_url(draw)
    if draw.chance(0.05):
        given[draw.pick(_NETWORK)] = draw.pick(_PROXIES)
    return {name: environ_text(text) for name, text in given.items()}


def _path(draw: Draw) -> str:
    if draw.chance(0.4):
        return "good"
    if draw.chance(0.5):
        return draw.pick(tuple(_CONTENTS))
    return draw.spoil("good") if draw.chance(0.3) else draw.pick(_PLACES)


@final
class _Environment:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def feed(self, given: dict[str, str]) -> str:
        with self._set(given):
            refusal = self._read_credentials()
            if refusal is None:
                return await self._use_client()
            require(_kind_of_client() == refusal, "a client refuses what credentials refuse")
            return refusal

    @contextmanager
    def _set(self, given: dict[str, str]) -> Iterator[None]:
        for name, text in given.items():
            is_file = name.endswith("_FILE") and text
            os.environ[name] = str(self._folder / name / text) if is_file else text
        try:
            yield
        finally:
            for name in given:
                del os.environ[name]

    @staticmethod
    def _read_credentials() -> str | None:
        try:
            pair = Credentials.from_env()
        except Exception as error:  # noqa: BLE001 - judged
            return judge(error)
        require(pair.client_id.strip() and pair.client_secret.reveal().strip(), "none is blank")
        require(not shows_canary(pair.client_secret), "no secret is seen")
        return None

    @staticmethod
    async def _use_client() -> str:
        try:
            with httpx_may_refuse(lambda: {"verify": tls_context()}) as options:
                client = TaxizerClient.from_env(**_offline(), **options)
        except HttpxRefusesError:
            return "httpx's own"
        except Exception as error:  # noqa: BLE001 - judged
            return f"client: {judge(error)}"
        return f"token: {await kind_of(client.auth.token())}"


def _offline() -> dict[str, Any]:
    return {
        "http_client": lambda: httpx.AsyncClient(transport=Server(_TOKEN)),
        "clock": ManualClock(autojump=True),
    }


def _kind_of_client() -> str:
    try:
        TaxizerClient.from_env(**_offline(), verify=tls_context())
    except Exception as error:  # noqa: BLE001 - judged
        return judge(error)
    return "TaxizerClient"


@contextmanager
def _start() -> Iterator[Feed]:
    with tempfile.TemporaryDirectory() as name:
        _make_files(Path(name, f"{_ID}_FILE"), b"app")
        _make_files(Path(name, f"{_SECRET}_FILE"), CANARY.encode())
        yield _Environment(Path(name)).feed


def _make_files(folder: Path, text: bytes) -> None:
    folder.mkdir()
    for name, content in _CONTENTS.items():
        (folder / name).write_bytes(content.replace(CANARY.encode(), text))
    (folder / "wide").write_bytes(text.decode().encode("utf-16"))
    (folder / "loop").symlink_to("loop")
    (folder / "broken").symlink_to("nowhere")
    (folder / "locked").mkdir(mode=0)


ENVIRONMENT: Final = (
    Target(
        "environment",
        0.06,
        _draw_environment,
        _start,
        {"ConfigurationError", "client: ConfigurationError", "token: ok"},
    ),
)
