"""
One answer of a token endpoint, as far as it has come in, and its body within bounds.

It is filled by who reads the network; what it means is decided in `_exchange`.
"""

from __future__ import annotations

import zlib

from collections.abc import Mapping
from typing import Final

import attrs


#: A token answer is a few KiB; whatever is longer is something else.
MAX_ANSWER: Final = 1024 * 1024

# Has zlib find out by itself whether there is a gzip or a zlib header.
_ANY_HEADER: Final = zlib.MAX_WBITS | 32


@attrs.define(eq=False, repr=False)
class Answer:
    """
    What has come in so far.

    Attributes:
        status_code: 0 until the head is there.
        headers: Likewise empty.
        raw: The body as it was sent …
        is_encoded: … so that it has to be decoded.
        complete: Whether there is no more to come, or no more is wanted.
    """

    status_code: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    raw: bytearray = attrs.field(factory=bytearray)
    is_encoded: bool = True
    complete: bool = False

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
        return len(self.raw) <= MAX_ANSWER

    def body(self) -> bytes | None:
        """Return the body, decoded; None if it is longer than `MAX_ANSWER`."""
        if len(self.raw) > MAX_ANSWER:
            return None
        raw = bytes(self.raw)
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity" or not self.is_encoded:
            return raw
        # It was not asked for, but gateways are known not to care.
        inflater = zlib.decompressobj(_ANY_HEADER)
        try:
            body = inflater.decompress(raw, MAX_ANSWER + 1)
        except zlib.error:
            return raw
        return body if len(body) <= MAX_ANSWER else None
