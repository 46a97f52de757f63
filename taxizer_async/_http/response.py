"""
One answer of a token endpoint, as far as it has come in, and its body within bounds.

What it means is decided by those who ask for it.
"""

from __future__ import annotations

import zlib

from collections.abc import Mapping
from typing import Any, Final

import anyio
import attrs


#: A token answer is a few KiB; whatever is longer is something else.
MAX_ANSWER: Final = 1024 * 1024

# Has zlib find out by itself whether there is a gzip or a zlib header.
_ANY_HEADER: Final = zlib.MAX_WBITS | 32


@attrs.define(eq=False, repr=False)
class RawResponse:
    """
    What has come in so far.

    Attributes:
        status_code: 0 until the head is there.
        headers: Likewise empty.
        raw: The body as it was sent …
        is_encoded: … so that it has to be decoded.
        complete: Whether there is no more to come, or no more is wanted.
        most: Bytes of the body that are wanted.
    """

    status_code: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    raw: bytearray = attrs.field(factory=bytearray)
    is_encoded: bool = True
    complete: bool = False
    most: int = MAX_ANSWER

    @property
    def is_success(self) -> bool:
        """Whether the status says that there is a token in it."""
        return 200 <= self.status_code < 300  # noqa: PLR2004

    @property
    def is_usable(self) -> bool:
        """Whether the outcome can be told: a failure's status says enough."""
        return self.complete or (self.status_code != 0 and not self.is_success)

    @property
    def is_html(self) -> bool:
        """Whether the body is a page."""
        kind = self.headers.get("Content-Type", "").lower()
        return "html" in kind or (self.body() or b"").lstrip().startswith(b"<")

    def add(self, chunk: bytes) -> bool:
        """Add a part of the body; say whether more is wanted."""
        self.raw += chunk
        return len(self.raw) <= self.most

    def body(self) -> bytes | None:
        """Return the body, decoded; None if it is longer than is wanted."""
        if len(self.raw) > self.most:
            return None
        raw = bytes(self.raw)
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity" or not self.is_encoded:
            return raw
        # It was not asked for, but gateways are known not to care.
        inflater = zlib.decompressobj(_ANY_HEADER)
        try:
            body = inflater.decompress(raw, self.most + 1)
        except zlib.error:
            return raw
        return body if len(body) <= self.most else None


async def receive(response: Any, answer: RawResponse) -> None:
    """Read the body of an httpx or httpx2 *response* into *answer*, as much of it as is wanted."""
    answer.headers = response.headers
    answer.status_code = response.status_code
    # A test transport's answer may be read, and so decoded, from the start.
    answer.is_encoded = not response.is_stream_consumed
    chunks = response.aiter_raw() if answer.is_encoded else response.aiter_bytes()
    # A cancellation ends the generators below, which a break would abandon to the collector.
    with anyio.CancelScope() as enough:
        async for chunk in chunks:
            if not enough.cancel_called and not answer.add(chunk):
                enough.cancel()
    answer.complete = True
