"""Undocumented answers: typed, and described without any value from them."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
import zlib

from collections.abc import Callable

import pytest

from taxizer_async._core.exchange import Issued, Malformed, Outcome, Refused, Unavailable
from taxizer_async._http.response import MAX_ANSWER
from taxizer_async.testing import Fault, Sandbox
from tests.support.raw_server import Serve, answer, flood
from tests.support.token_calls import Asker


# An abandoned answer must not leave a generator behind, of which trio warns.
pytestmark = pytest.mark.filterwarnings("error:Async generator 'httpx:ResourceWarning")

CANARY = "cnry-7f3a"
TOKEN = json.dumps({"jwtToken": "j-1", "appName": "Café"}, ensure_ascii=False)


@pytest.mark.invariant(19)
@pytest.mark.report(70)
@pytest.mark.parametrize("call", ["connect", "refresh"])
@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", "an empty body"),
        (f"<html>{CANARY}</html>".encode(), "an HTML page of 22 bytes"),
        (f'["{CANARY}"]'.encode(), "a JSON list"),
        (f'{{"token": "{CANARY}"}}'.encode(), "a JSON object without jwtToken"),
        (
            f'{{"jwtToken": "{CANARY}\\r\\nX: y"}}'.encode(),
            "a JSON object with a jwtToken that is empty or not visible ASCII",
        ),
        (f'{{"jwtToken": "{CANARY}'.encode(), "something that is not JSON of 23 bytes"),
    ],
)
async def test_a_success_without_a_token_is_malformed(
    sandbox: Sandbox, asker: Asker, call: str, body: bytes, excerpt: str
) -> None:
    """A 200 without a token is described by its shape, and is the API's own answer if it is JSON."""
    sandbox.fail(call, Fault.junk(body))
    outcome = await (asker.connect(attempts=1) if call == "connect" else asker.refresh())

    is_json = excerpt.startswith("a JSON")
    assert outcome == Malformed(status_code=200, excerpt=excerpt, is_the_apis=is_json)
    assert sandbox.counters.exchanges == 1


@pytest.mark.report(70)
@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Malformed(status_code=204, excerpt="an empty body")),
        (
            answer(b"<html>Not Found", status="404 Not Found"),
            Malformed(status_code=404, excerpt='an HTML page of 15 bytes, saying "Not Found"'),
        ),
        (
            answer(TOKEN.encode(), status="404 Not Found"),
            Malformed(status_code=404, excerpt="a JSON object", is_the_apis=True),
        ),
        (
            answer(TOKEN.encode(), status="300 Multiple Choices"),
            Malformed(status_code=300, excerpt="a JSON object", is_the_apis=True),
        ),
        (
            answer(b"", status="304 Not Modified"),
            Malformed(status_code=304, excerpt="an empty body"),
        ),
        (
            answer(b"{}", status="422 Unprocessable"),
            Malformed(status_code=422, excerpt="a JSON object", is_the_apis=True),
        ),
        (
            answer(b"<html>cnry", status="502 cnry"),
            Unavailable(reason="answered 502 Bad Gateway", status_code=502),
        ),
        (answer(b"", status="799 cnry"), Unavailable(reason="answered 799", status_code=799)),
    ],
    ids=["204", "404-html", "404-token", "300", "304", "422", "502-html", "799"],
)
async def test_other_statuses_are_no_tokens(serve: Serve, raw: bytes, outcome: Outcome) -> None:
    """Any other status is never taken for a token, and is reported by its number."""
    server = serve((raw,))

    assert await Asker(server.base_url).connect(attempts=1) == outcome


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "299 cnry"])
async def test_any_success_may_bring_a_token(serve: Serve, status: str) -> None:
    """A token counts with any status of success."""
    server = serve((answer(TOKEN.encode(), status=status),))

    assert isinstance(await Asker(server.base_url).connect(attempts=1), Issued)


@pytest.mark.invariant(22)
@pytest.mark.report(116)
@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (answer(b"", status="400 Bad Request"), Refused(status_code=400)),
        (answer(b"no such pair", status="400 Bad Request"), Refused(status_code=400)),
        (answer(b"{}", status="401 Unauthorized"), Refused(status_code=401)),
        (answer(b"{}", status="403 Forbidden"), Refused(status_code=403)),
        (
            answer(b" \n<html>Blocked", status="400 Bad Request"),
            Malformed(status_code=400, excerpt="an HTML page of 15 bytes"),
        ),
        (
            answer(b"", status="401 Unauthorized"),
            Malformed(status_code=401, excerpt="an empty body"),
        ),
        (
            answer(b"<html>Blocked", status="403 Forbidden"),
            Malformed(status_code=403, excerpt="an HTML page of 13 bytes"),
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{",
            Unavailable(
                reason="answered 400 Bad Request, but the body was cut off", status_code=400
            ),
        ),
    ],
    ids=["empty", "text", "401", "403", "400-html", "401-empty", "403-html", "cut-off"],
)
async def test_a_refusal_is_the_apis_own(serve: Serve, raw: bytes, outcome: Outcome) -> None:
    """Only the API's own answer refuses credentials: no page of a firewall or proxy, and no truncated answer."""
    server = serve((raw,))

    assert await Asker(server.base_url).connect(attempts=1) == outcome


@pytest.mark.parametrize("status", ["101 Switching Protocols", "199 cnry"])
async def test_a_1xx_in_place_of_an_answer_is_a_typed_failure(serve: Serve, status: str) -> None:
    """A switch of protocols, or only an informational answer, is not a token."""
    server = serve((f"HTTP/1.1 {status}\r\nUpgrade: websocket\r\n\r\n".encode() + TOKEN.encode(),))
    outcome = await Asker(server.base_url).connect(attempts=1)

    assert isinstance(outcome, (Malformed, Unavailable))
    assert "cnry" not in repr(outcome)


@pytest.mark.invariant(22)
@pytest.mark.report(70)
@pytest.mark.parametrize(
    "raw",
    [
        b"cnry\r\n\r\n",
        b"SSH-2.0-cnry\r\n",
        b"HTTP/1.1 abc cnry\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon cnry\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: cnry\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncnry\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"cnry" * 50_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\ncnry",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"",
    ],
    ids=[
        "junk",
        "ssh",
        "status",
        "header",
        "length",
        "chunk",
        "short",
        "huge-head",
        "no-gzip",
        "tls-alert",
        "nothing",
    ],
)
async def test_what_is_not_http_is_a_typed_failure(serve: Serve, raw: bytes) -> None:
    """Bytes that are not HTTP give a failure that quotes none of them."""
    server = serve((raw,))
    outcome = await Asker(server.base_url).connect(attempts=1)

    assert isinstance(outcome, (Malformed, Unavailable))
    assert "cnry" not in repr(outcome)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_token_is_read(
    sandbox: Sandbox, asker: Asker, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A compressed answer is read, though none was asked for."""
    packed = pack(TOKEN.encode())
    sandbox.fail("connect", Fault.junk(packed, headers={"Content-Encoding": encoding}))

    assert isinstance(await asker.connect(), Issued)


@pytest.mark.report(70)
async def test_a_truncated_compressed_answer_is_a_typed_failure(
    sandbox: Sandbox, asker: Asker
) -> None:
    """Half of a gzip stream is not a token."""
    packed = gzip.compress(TOKEN.encode())
    half = packed[: len(packed) // 2]
    sandbox.fail("connect", Fault.junk(half, headers={"Content-Encoding": "gzip"}))
    outcome = await asker.connect(attempts=1)

    assert isinstance(outcome, (Malformed, Unavailable))


@pytest.mark.invariant(19)
@pytest.mark.parametrize(("padding", "is_token"), [(0, True), (1, False)])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_answer_may_have_a_mebibyte(
    sandbox: Sandbox, asker: Asker, encoding: str, padding: int, is_token: bool
) -> None:
    """An answer of 1 MiB, as it is or inflated, is read; one more byte, and it is refused."""
    assert MAX_ANSWER == 1024 * 1024
    body = b'{"jwtToken": "j-1"}'.ljust(MAX_ANSWER + padding)
    sent = gzip.compress(body) if encoding == "gzip" else body
    sandbox.fail("connect", Fault.junk(sent, headers={"Content-Encoding": encoding}))
    outcome = await asker.connect(attempts=1)

    assert isinstance(outcome, Issued) is is_token
    if not is_token:
        assert outcome == Malformed(status_code=200, excerpt="more than 1 MiB")


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
async def test_an_endless_answer_is_left_at_a_mebibyte(serve: Serve, status: str) -> None:
    """An endless body is abandoned at the size limit, not at the deadline."""
    server = serve((f"HTTP/1.1 {status}\r\n\r\n".encode(), flood))
    outcome = await Asker(server.base_url).connect(attempts=1)

    assert outcome == Malformed(status_code=int(status[:3]), excerpt="more than 1 MiB")
    assert server.flooded < 16 * MAX_ANSWER


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_gzip_bomb_is_not_inflated(serve: Serve, layers: int) -> None:
    """A small answer that inflates to a huge one is refused without using its memory."""
    bomb = bytes(48 * MAX_ANSWER)
    for _ in range(layers):
        bomb = gzip.compress(bomb)
    encoding = ", ".join(["gzip"] * layers)
    server = serve((answer(bomb, f"Content-Encoding: {encoding}"),))
    asker = Asker(server.base_url)
    tracemalloc.start()
    try:
        outcome = await asker.connect(attempts=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(outcome, Malformed)
    assert peak < 8 * MAX_ANSWER


async def test_an_unreadable_expiry_is_logged_by_name(
    sandbox: Sandbox, asker: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    """An unreadable timestamp counts as missing, and its field's name is logged, not its value."""
    sandbox.fail("connect", Fault.edit(jwtTokenExpireAtUTC=CANARY))
    with caplog.at_level(logging.WARNING, "taxizer_async"):
        outcome = await asker.connect()

    assert isinstance(outcome, Issued)
    assert outcome.lifetime is None
    assert "jwtTokenExpireAtUTC" in caplog.text
    assert CANARY not in caplog.text
