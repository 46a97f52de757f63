from __future__ import annotations

import time

from typing import Any, final

import httpx
import pytest

from taxizer_async.testing import Sandbox
from tests.support.limits import HANG

from .caller import CONNECT, REGISTER, Caller, in_thread


ANSWER = {"kind": "answer", "code": 503}


@final
class Remote:
    """Drives a sandbox over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def state(self) -> dict[str, Any]:
        return self._of(self._client.get("/_sandbox/state"))

    def post(self, act: str, **body: object) -> dict[str, Any]:
        return self._of(self._client.post(f"/_sandbox/{act}", json=body))

    def change(self, **settings: object) -> dict[str, Any]:
        return self._of(self._client.patch("/_sandbox/settings", json=settings))

    def _of(self, response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        state: dict[str, Any] = response.json()
        return state


@pytest.fixture(name="remote")
def _remote(caller: Caller) -> Remote:
    return Remote(caller.client)


SETTINGS: dict[str, object] = {
    "lifetime": 60,
    "refresh_lifetime": 120.5,
    "connect_latency": 0.01,
    "refresh_latency": 0.02,
    "resource_latency": 0.03,
    "clock_offset": -86400,
    "timestamp_style": "lower-z",
    "rotate": False,
    "reuse_detection": False,
    "send_date": False,
    "refusal_status": 401,
}


@pytest.mark.parametrize(("name", "value"), SETTINGS.items())
def test_each_setting_is_set_and_read(
    sandbox: Sandbox, remote: Remote, name: str, value: object
) -> None:
    """Each setting can be changed alone, and the state shows it at once."""
    before = remote.state()["settings"]
    after = remote.change(**{name: value})["settings"]

    assert getattr(sandbox, name) == value
    assert after == before | {name: value}
    assert before.keys() == SETTINGS.keys()


def test_a_wrong_setting_changes_none(remote: Remote, caller: Caller) -> None:
    """A body with one wrong value changes nothing."""
    before = remote.state()["settings"]
    body = {"lifetime": 1, "refusal_status": 200}

    assert caller.client.patch("/_sandbox/settings", json=body).status_code == 400
    assert remote.state()["settings"] == before


def test_an_answer_is_as_it_was_set(remote: Remote, caller: Caller) -> None:
    """A fault of kind answer has the given code, headers, body and type, as often as it was said."""
    remote.post(
        "fail",
        kind="answer",
        code=429,
        headers={"Retry-After": "7"},
        body="wait",
        content_type="text/html",
        where="connect",
        times=2,
    )
    first, second, third = caller.connect(), caller.connect(), caller.connect()

    assert (first.status_code, first.text, first.headers["retry-after"]) == (429, "wait", "7")
    assert first.headers["content-type"] == "text/html"
    assert (second.status_code, third.status_code) == (429, 200)


def test_a_fault_without_a_place_is_everywhere(remote: Remote, caller: Caller) -> None:
    """Without a place a fault meets all requests, until it is healed at one place or all."""
    token = caller.token()

    def statuses() -> list[int]:
        return [
            caller.connect().status_code,
            caller.refresh("unknown").status_code,
            caller.register(token["jwtToken"]).status_code,
        ]

    remote.post("fail", **ANSWER)
    assert statuses() == [503, 503, 503]
    remote.post("heal", where="connect")
    assert statuses() == [200, 503, 503]
    remote.post("heal")
    assert statuses() == [200, 400, 200]


@pytest.mark.parametrize(
    ("kind", "problem"), [("reset", "reset"), ("truncate", "complete"), ("drop", None)]
)
def test_answers_can_be_cut_off(
    sandbox: Sandbox, remote: Remote, caller: Caller, kind: str, problem: str | None
) -> None:
    """A reset processes nothing; a truncated and a dropped answer are lost after processing."""
    remote.post("fail", kind=kind, where=REGISTER, times=1)
    jwt = caller.jwt()

    with pytest.raises(httpx.TransportError, match=problem):
        caller.register(jwt)
    assert sandbox.counters.resources_ok == (kind != "reset")
    assert caller.register(jwt).status_code == 200


def test_a_hang_ends_when_it_is_healed(sandbox: Sandbox, remote: Remote, caller: Caller) -> None:
    """A request that hangs is answered once the place is healed."""
    remote.post("fail", kind="hang", where="connect")
    answer = in_thread(caller.connect)
    sandbox.wait_until(lambda counters: counters.connects == 1)
    remote.post("heal")

    assert answer.result(HANG).status_code == 200


def test_an_answer_can_be_edited(remote: Remote, caller: Caller) -> None:
    """An edit replaces fields of an answer, and removes others; the state shows no value."""
    fields = {"jwtToken": "canary", "self": 1, "cls": None}
    state = remote.post("fail", kind="edit", fields=fields, remove=["refreshToken"])
    answer = caller.token()

    assert {name: answer[name] for name in fields} == fields
    assert "refreshToken" not in answer
    assert state["faults"][0] == {
        "where": "connect",
        "times": None,
        "kind": "edit",
        "fields": list(fields),
        "remove": ["refreshToken"],
    }


def test_faults_in_force_are_told(remote: Remote, caller: Caller) -> None:
    """The state lists each fault with the number of requests that will still meet it."""
    remote.post("fail", kind="hang", seconds=0, where="connect", times=2)
    remote.post("fail", where="connect", **ANSWER)
    caller.connect()

    assert remote.state()["faults"] == [
        {"where": "connect", "times": 1, "kind": "hang", "seconds": 0},
        {
            "where": "connect",
            "times": None,
            "kind": "answer",
            "code": 503,
            "headers": {"Content-Type": "application/problem+json"},
        },
    ]
    caller.connect()
    assert [each["kind"] for each in remote.state()["faults"]] == ["answer"]


@pytest.mark.parametrize(
    ("body", "jwt", "refresh"),
    [
        ({}, 401, 200),
        ({"tokens": "jwts"}, 401, 200),
        ({"tokens": "refresh_tokens"}, 200, 400),
        ({"tokens": "all"}, 401, 400),
    ],
)
def test_tokens_are_revoked(
    remote: Remote, caller: Caller, body: dict[str, object], jwt: int, refresh: int
) -> None:
    """JWTs, refresh tokens or both are refused from now on; by default JWTs."""
    token = caller.token()
    state = remote.post("revoke", **body)

    assert caller.register(token["jwtToken"]).status_code == jwt
    assert caller.refresh(token["refreshToken"]).status_code == refresh
    assert state["token"]["good"] == (jwt == 200)
    assert caller.register(caller.jwt()).status_code == 200


def test_tokens_expire_now(remote: Remote, caller: Caller) -> None:
    """The JWTs so far end at once; later ones and refresh tokens are good."""
    token = caller.token()
    remote.post("expire")

    assert caller.register(token["jwtToken"]).status_code == 401
    assert caller.refresh(token["refreshToken"]).status_code == 200
    assert caller.register(caller.jwt()).status_code == 200


def test_tokens_expire_later(remote: Remote, caller: Caller) -> None:
    """With seconds the JWTs so far live on for as long, and never longer than before."""
    jwt = caller.jwt()
    sooner = remote.post("expire", seconds=60)["token"]
    later = remote.post("expire", seconds=600)["token"]

    assert caller.register(jwt).status_code == 200
    assert sooner["ends_at"] == pytest.approx(time.time() + 60, abs=HANG)
    assert later == sooner


def test_the_newest_token_is_told(remote: Remote, caller: Caller) -> None:
    """The state has the number, age and end of the JWT that was issued last."""
    assert remote.state()["token"] is None
    remote.change(lifetime=100)
    caller.jwt()
    caller.jwt()
    token = remote.state()["token"]

    assert (token["number"], token["good"]) == (2, True)
    assert token["issued_at"] == pytest.approx(time.time(), abs=HANG)
    assert token["ends_at"] - token["issued_at"] == pytest.approx(100, abs=0.01)


def test_counters_are_read_and_reset(sandbox: Sandbox, remote: Remote, caller: Caller) -> None:
    """The counters are those of `Sandbox.counters`, and start from 0 again."""
    caller.register("wrong")
    caller.connect()
    counters = remote.state()["counters"]

    assert counters["by_path"] == {REGISTER: 1, CONNECT: 1}
    assert {counters[name] for name in ("connects_ok", "unauthorized", "exchanges")} == {1}
    assert remote.post("reset-counters")["counters"]["exchanges"] == 0
    assert sandbox.counters.connects == 0


def test_reset_goes_back_to_the_start(remote: Remote, caller: Caller) -> None:
    """A reset heals all, restores the settings and counts from 0; tokens stay good."""
    before = remote.state()
    jwt = caller.jwt()
    remote.change(**SETTINGS)
    remote.post("fail", **ANSWER)
    after = remote.post("reset")

    assert [after[name] for name in ("settings", "counters", "faults")] == [
        before[name] for name in ("settings", "counters", "faults")
    ]
    assert caller.register(jwt).status_code == 200


def test_control_is_none_of_the_api(sandbox: Sandbox, remote: Remote, caller: Caller) -> None:
    """No request to the page or the control interface is counted, fails, waits or is held back."""
    sandbox.resource_latency = 2 * HANG
    for place in ("resource", "/", "/_sandbox/state"):
        remote.post("fail", where=place, kind="hang")
        sandbox.hold(place)

    assert caller.client.get("/").status_code == 200
    assert remote.state()["counters"] == remote.post("reset-counters")["counters"]
    assert sandbox.resource_log == ()


def test_the_state_holds_no_secret(sandbox: Sandbox, remote: Remote, caller: Caller) -> None:
    """Neither the secret, nor a token, nor the client's id is in a state."""
    token = caller.token()
    caller.register(token["jwtToken"])
    text = str(remote.state())

    secrets = (token["jwtToken"], token["refreshToken"], "sandbox-secret", sandbox.client_id)
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/_sandbox/page.css", "text/css; charset=utf-8"),
        ("/_sandbox/page.js", "text/javascript; charset=utf-8"),
    ],
)
def test_the_page_is_served(caller: Caller, path: str, content_type: str) -> None:
    """The page's files come from this server alone, and no other page may frame or keep them."""
    response = caller.client.get(path)

    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert response.headers["cache-control"] == "no-store"
    policy = response.headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy)
