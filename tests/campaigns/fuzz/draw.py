"""Draws an input from its seed, and spoils good values."""

from __future__ import annotations

import random

from collections.abc import Sequence
from typing import AnyStr, Final, TypeVar, final

from tests.campaigns.fuzz.verdict import ECHO


T = TypeVar("T")

#: Texts that parsers may fail on.
TEXTS: Final = (
    *("", " ", "\t", "\0", "\r\n", "\n", "\x7f", "\x85", "\u2028", "\ufeff", "\u202e"),
    *("\U0001f4a5", "\ud800", "\udcff", "\u0130", "\u0663", "\uff19", "\u00e9", "\u00df"),
    *("xn--", "xn--a", "\u4f60"),
    *("-", "+", "-1", "0", "00", "1e309", "1_0", "0x10", "NaN", "Infinity", "9" * 25, "9" * 400),
    *("null", "true", "[]", "{}", '"', "'", "\\", "\\u", "\\ud800", "%", "%00", "%zz", "%s", "{0}"),
    *("/", "//", "/../", ":", "::", "@", "?", "#", "[", "]", ",", ";", "=", "<html", "--", "."),
    *(ECHO, f"user:{ECHO}@", "a" * 300),
)
BYTES: Final = (
    *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
    *(b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\xc0\x80", b"\xed\xa0\x80"),
    *(b"\x00\x00", b"\r\n\r\n", b"\x1f\x8b", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\x15\x03\x03"),
)
_ALPHABETS: Final = (
    range(0x20, 0x7F),
    range(0x100),
    range(0x3000),
    range(0xD7F0, 0xE010),
    range(0x110000),
)


@final
class Draw:
    """The source of one input."""

    __slots__ = ("random",)

    def __init__(self, seed: int | str) -> None:
        self.random: Final = random.Random(seed)  # noqa: S311 - not for secrets

    def chance(self, share: float) -> bool:
        """Return True in that *share* of the cases."""
        return self.random.random() < share

    def below(self, end: int) -> int:
        """Return a whole number from 0 up to, but not including, *end*."""
        return int(self.random.random() * end)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of *options*."""
        return options[int(self.random.random() * len(options))]

    def few(self) -> int:
        """Return a number of 1 or more, mostly 1."""
        return 1 + int(self.random.expovariate(1.2))

    def text(self) -> str:
        """Return a junk text."""
        if self.chance(0.6):
            return "".join(self.pick(TEXTS) for _ in range(self.below(5)))
        alphabet = self.pick(_ALPHABETS)
        return "".join(chr(self.pick(alphabet)) for _ in range(self.below(24)))

    def junk(self) -> bytes:
        """Return junk bytes."""
        if self.chance(0.4):
            return b"".join(self.pick(BYTES) for _ in range(self.below(6)))
        return self.random.randbytes(self.below(80))

    def spoil(self, good: str) -> str:
        """Return *good* with a few slips in it."""
        for _ in range(self.few()):
            good = self._slip(good, self.pick(TEXTS))
        return good

    def spoil_bytes(self, good: bytes) -> bytes:
        """Return *good* with a few slips in it."""
        for _ in range(self.few()):
            if good and self.chance(0.3):
                at = self.below(len(good))
                flipped = good[at] ^ (1 << self.below(8))
                good = good[:at] + bytes((flipped,)) + good[at + 1 :]
            else:
                good = self._slip(good, self.pick(BYTES))
        return good

    def pieces(self, whole: bytes) -> tuple[bytes, ...]:
        """Return *whole* in parts, some of which may be empty."""
        cuts = sorted(self.below(len(whole) + 1) for _ in range(self.below(4)))
        return tuple(whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True))

    def _slip(self, good: AnyStr, token: AnyStr) -> AnyStr:
        first, second = self.below(len(good) + 1), self.below(len(good) + 1)
        start = min(first, second)
        end = min(max(first, second), start + 12)
        middle, kind = good[start:end], self.below(6)
        if kind == 0:  # put in
            middle = token + middle
        elif kind == 1:  # put in place of what is there
            middle = token
        elif kind == 2:  # leave out
            middle = middle[:0]
        elif kind == 3:  # repeat
            middle *= 1 + self.few()
        elif kind == 4:  # turn around
            middle = middle[::-1]
        else:  # cut off
            return good[:end]
        return good[:start] + middle + good[end:]
