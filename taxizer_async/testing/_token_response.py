"""What Connect answers, for tests that stub it instead of running a sandbox."""

from __future__ import annotations

from typing import Final


_DOCUMENTED: Final = {
    "appId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "appName": "InvoiceApp",
    "accountId": "acc12345",
    "accountName": "MainAccount",
    "username": "user2024",
    "jwtToken": "stubbed-jwt",
    "jwtTokenExpireAtUTC": "2099-12-31T23:59:59Z",
    "refreshToken": "stubbed-refresh-token",
    "refreshTokenExpireAtUTC": "2099-12-31T23:59:59Z",
}


def token_response(**overrides: object) -> dict[str, object]:
    """
    Return the JSON with which Connect and AppRefreshToken issue a token, good until 2099.

    Logins use a client of their own. respx and pytest-httpx replace the transports of all clients, so they
    answer logins, too: `respx.post(f"{base_url}/v1/Auth/Connect").respond(json=token_response())`,
    or `httpx_mock.add_response(url=f"{base_url}/v1/Auth/Connect", json=token_response())`. An
    `httpx.MockTransport` serves its own client only: give the auth
    `http_client=lambda: httpx.AsyncClient(transport=…)`.

    Args:
        **overrides: Fields to replace, by their documented names.

    Raises:
        TypeError: If a field does not exist.
    """
    unknown = overrides.keys() - _DOCUMENTED.keys()
    if unknown:
        msg = f"a token has no {', '.join(sorted(unknown))}; it has {', '.join(_DOCUMENTED)}"
        raise TypeError(msg)
    return _DOCUMENTED | overrides
