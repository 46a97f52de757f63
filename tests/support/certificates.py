"""TLS on loopback: a server's certificate, and a client that trusts it."""

from __future__ import annotations

import ssl

import trustme


def tls_contexts(authority: trustme.CA | None = None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context, with a certificate for loopback, and one of a client that trusts its CA."""
    authority = authority or trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return served, trusting
