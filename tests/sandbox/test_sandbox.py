from __future__ import annotations

import base64
import json
import uuid

from datetime import datetime

import pytest

from taxizer_async.testing import Sandbox

from .caller import CONNECT, REFRESH, REGISTER, Caller, fields


def test_connect_answers_the_nine_documented_fields(caller: Caller) -> None:
    """Connect answers with the nine documented fields; the appId is a UUID."""
    token = caller.token()

    assert set(token) == {
        "appId",
        "appName",
        "accountId",
        "accountName",
        "username",
        "jwtToken",
        "jwtTokenExpireAtUTC",
        "refreshToken",
        "refreshTokenExpireAtUTC",
    }
    assert str(uuid.UUID(token["appId"])) == token["appId"]
    assert (token["appName"], token["accountId"]) == ("SandboxApp", "acc12345")


def test_a_jwt_looks_like_one(caller: Caller) -> None:
    """A JWT has a header, claims and a signature, and its claims state the same expiry as the answer."""
    token = caller.token()
    head, claims, signature = (
        base64.urlsafe_b64decode(part + "==") for part in token["jwtToken"].split(".")
    )
    stated = datetime.fromisoformat(token["jwtTokenExpireAtUTC"])

    assert json.loads(head) == {"alg": "HS256", "typ": "JWT"}
    assert {"iat", "exp", "jti"} <= set(json.loads(claims))
    assert abs(json.loads(claims)["exp"] - stated.timestamp()) <= 1
    assert len(signature) == 32


@pytest.mark.parametrize(
    "pair",
    [
        rb'{"clientId": "sandbox-client", "clientSecret": "sandbox-secreT"}',
        rb'{"clientId": "sandbox-client", "clientSecret": ""}',
        rb'{"clientId": "sandbox-client", "clientSecret": "\udcff"}',
        rb'{"clientId": "other", "clientSecret": "sandbox-secret"}',
    ],
    ids=["secret", "no-secret", "half-a-character", "id"],
)
def test_connect_refuses_a_wrong_pair(sandbox: Sandbox, caller: Caller, pair: bytes) -> None:
    """A wrong pair, even one with half a surrogate, is answered with 400 and issues nothing."""
    answer = caller.client.post(CONNECT, content=pair)

    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert sandbox.issued_jwts == ()


@pytest.mark.parametrize("path", [CONNECT, REFRESH])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"clientId": 1}', b"\xff", b"null"])
def test_a_malformed_body_is_refused(
    sandbox: Sandbox, caller: Caller, path: str, body: bytes
) -> None:
    """A body that is not the documented object is answered with 400, and issues nothing."""
    assert caller.client.post(path, content=body).status_code == 400
    assert sandbox.issued_jwts == ()


@pytest.mark.parametrize("path", [CONNECT, REFRESH])
def test_the_auth_endpoints_take_post_only(caller: Caller, path: str) -> None:
    """A GET of an auth endpoint is answered with 405 and the method that is allowed."""
    answer = caller.client.get(path)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


def test_a_refresh_rotates(sandbox: Sandbox, caller: Caller) -> None:
    """A refresh issues a new JWT and a new refresh token; the old JWT stays good."""
    old = caller.token()
    new = fields(caller.refresh(old["refreshToken"]))

    assert sandbox.issued_jwts == (old["jwtToken"], new["jwtToken"])
    assert sandbox.issued_refresh_tokens == (old["refreshToken"], new["refreshToken"])
    assert caller.register(old["jwtToken"]).status_code == 200
    assert caller.register(new["jwtToken"]).status_code == 200


def test_a_spent_refresh_token_revokes_everything(sandbox: Sandbox, caller: Caller) -> None:
    """A spent refresh token is refused, and its reuse revokes all JWTs and refresh tokens."""
    old = caller.token()
    new = fields(caller.refresh(old["refreshToken"]))

    assert caller.refresh(old["refreshToken"]).status_code == 400
    assert sandbox.counters.reuses == 1
    assert caller.register(old["jwtToken"]).status_code == 401
    assert caller.register(new["jwtToken"]).status_code == 401
    assert caller.refresh(new["refreshToken"]).status_code == 400
    assert sandbox.counters.reuses == 1


def test_without_reuse_detection_a_spent_token_is_only_refused(
    sandbox: Sandbox, caller: Caller
) -> None:
    """With reuse detection off, a spent refresh token is refused and nothing is revoked."""
    sandbox.reuse_detection = False
    old = caller.token()
    new = fields(caller.refresh(old["refreshToken"]))

    assert caller.refresh(old["refreshToken"]).status_code == 400
    assert caller.register(new["jwtToken"]).status_code == 200
    assert caller.refresh(new["refreshToken"]).status_code == 200


def test_without_rotation_the_refresh_token_stays(sandbox: Sandbox, caller: Caller) -> None:
    """With rotation off, the same refresh token is returned, and works again."""
    sandbox.rotate = False
    old = caller.token()
    new = fields(caller.refresh(old["refreshToken"]))

    assert new["refreshToken"] == old["refreshToken"]
    assert new["jwtToken"] != old["jwtToken"]
    assert caller.refresh(old["refreshToken"]).status_code == 200
    assert sandbox.counters.reuses == 0


def test_an_unknown_refresh_token_is_refused(sandbox: Sandbox, caller: Caller) -> None:
    """A refresh token that was never issued is refused with the configured status."""
    sandbox.refusal_status = 403

    assert caller.refresh("never-issued").status_code == 403


def test_an_expired_refresh_token_is_refused(sandbox: Sandbox, caller: Caller) -> None:
    """An expired refresh token is refused, which does not count as reuse."""
    sandbox.refresh_lifetime = 0

    assert caller.refresh(caller.token()["refreshToken"]).status_code == 400
    assert sandbox.counters.reuses == 0


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Basic eDp5"])
def test_a_resource_wants_a_live_bearer(caller: Caller, header: str) -> None:
    """A request for a resource without a good token is answered with 401 and a challenge."""
    answer = caller.client.get(REGISTER, headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_resource_takes_any_method(caller: Caller, method: str) -> None:
    """A resource answers any method with a good token, and counts the bytes of the body."""
    token = caller.token()
    headers = {"Authorization": f"bearer {token['jwtToken']}"}
    answer = caller.client.request(method, REGISTER, content=b"12345", headers=headers)

    assert answer.json() == {"path": REGISTER, "app": token["appId"], "received": 5}


def test_a_path_outside_of_v1_is_not_found(caller: Caller) -> None:
    """A path that is not below /v1 answers 404, with or without a token."""
    assert caller.get("/v2/Devices/Register", "none").status_code == 404
    assert caller.get("/v1", caller.jwt()).status_code == 404


def test_echo_shows_the_headers_but_no_secret(caller: Caller) -> None:
    """The echo shows all headers of the request except Authorization."""
    jwt = caller.jwt()
    headers = [("X-A", "1"), ("X-A", "2"), ("Authorization", f"Bearer {jwt}")]
    echo = caller.client.post("/v1/echo", content=b"123", headers=headers)

    assert echo.json()["headers"]["x-a"] == "1, 2"
    assert echo.json()["received"] == 3
    assert jwt not in echo.text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_sends_the_client_elsewhere(caller: Caller, status: int) -> None:
    """A redirect has the requested status and target; it needs a token."""
    path = f"/v1/redirect?to=https://example.com/x&status={status}"
    answer = caller.get(path, caller.jwt())

    assert answer.status_code == status
    assert answer.headers["Location"] == "https://example.com/x"
    assert caller.get(path, "none").status_code == 401


@pytest.mark.parametrize("query", ["", "?status=302", "?to=/x&status=200"])
def test_a_redirect_to_nowhere_is_refused(caller: Caller, query: str) -> None:
    """A redirect without a target, or with another status, answers 400."""
    answer = caller.get(f"/v1/redirect{query}", caller.jwt())

    assert answer.status_code == 400
