"""Who may drive a sandbox over HTTP: programs on this machine and its own page, but no other web page."""

from __future__ import annotations

import re

from http import HTTPStatus
from typing import Final, final

from taxizer_async.testing._sandbox.messages import Request


#: The most bytes of a body.
BODY_BYTES: Final = 64 * 1024

_LOOPBACK: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)

#: What a browser says of its own page's requests, and of those that no page asked for.
_OWN_SITE: Final = frozenset({"same-origin", "none"})


@final
class RefusedError(Exception):
    """A request to the control interface that is refused, with what its sender is told."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def check_sender(request: Request) -> None:
    """
    Refuse what a web page may have sent, also one whose name was made to resolve to loopback.

    Raises:
        RefusedError: If `Host` is not loopback, if `Origin` is not this server's, or if a browser says that
            another page asks for it, as a picture for example; a link to it may be followed.
    """
    hosts = request.values(b"host")
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
        raise RefusedError(HTTPStatus.FORBIDDEN, "Host has to be 127.0.0.1, localhost or [::1].")
    own = f"http://{hosts[0]}".lower()
    is_foreign = any(origin.lower() != own for origin in request.values(b"origin"))
    is_part = request.values(b"sec-fetch-dest") != ["document"]
    if is_foreign or (is_part and not _OWN_SITE.issuperset(request.values(b"sec-fetch-site"))):
        raise RefusedError(HTTPStatus.FORBIDDEN, "Only the sandbox's own page may do this.")


def check_content_type(request: Request) -> None:
    """
    Refuse what an HTML form can send.

    Raises:
        RefusedError: If the body is not said to be JSON.
    """
    types = [value.partition(";")[0].strip().lower() for value in request.values(b"content-type")]
    if types != ["application/json"]:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json."
        )
