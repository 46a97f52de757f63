from __future__ import annotations

import json

from typing import Any

import pytest

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from taxizer_async.testing import Fault, Sandbox
from taxizer_async.testing._sandbox.control.control import is_control

from .caller import Caller
from .events import following


STATE = "/_sandbox/state"
JSON = "application/json"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:{port}"]
)
@pytest.mark.parametrize("path", ["/", STATE])
def test_loopback_is_let_in(sandbox: Sandbox, caller: Caller, host: str, path: str) -> None:
    """A request to a name of loopback is served, with the Origin of the sandbox's own page or none."""
    host = host.format(port=sandbox.port)

    for origin in ({}, {"Origin": f"http://{host}"}):
        answer = caller.client.get(path, headers={"Host": host, **origin})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "evil.example:80", "127.0.0.1:80.evil.example"),
        *("localhost.evil.example", "user@127.0.0.1", "127.0.0.1:", "10.0.0.1", "192.168.1.1", ""),
    ],
)
@pytest.mark.parametrize("path", ["/", STATE, "/_sandbox/events", "/_sandbox/revoke"])
def test_other_hosts_are_refused(caller: Caller, host: str, path: str) -> None:
    """No name but loopback's is served, so that a page whose name resolves to loopback gets nothing."""
    refused = caller.client.get(path, headers={"Host": host})

    assert refused.status_code == 403
    assert "Host has to be" in refused.json()["detail"]


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "", "http://127.0.0.1", "http://localhost:{port}"),
        *("https://127.0.0.1:{port}", "http://127.0.0.1:{port}.evil.example", "http://127.0.0.1:1"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_pages_are_refused(
    sandbox: Sandbox, caller: Caller, origin: str, method: str
) -> None:
    """No web page but the sandbox's own reads or drives it, not even one of another port of this machine."""
    refused = caller.client.request(
        method,
        "/_sandbox/revoke" if method == "POST" else STATE,
        headers={"Origin": origin.format(port=sandbox.port), "Content-Type": JSON},
        content=b"{}",
    )

    assert refused.status_code == 403
    assert not any(name.startswith("access-control-") for name in refused.headers)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin, cross-site", ""])
@pytest.mark.parametrize("path", ["/", STATE, "/_sandbox/events"])
def test_other_pages_hold_nothing_open(caller: Caller, site: str, path: str) -> None:
    """A browser sends no Origin for a picture or a frame of another page; it gets nothing either."""
    for dest in ({}, {"Sec-Fetch-Dest": "image"}, {"Sec-Fetch-Dest": "iframe"}):
        refused = caller.client.get(path, headers={"Sec-Fetch-Site": site, **dest})
        assert refused.status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-origin", "none"])
def test_links_are_followed(caller: Caller, site: str) -> None:
    """The page opens from a link, a bookmark or the address bar."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"}

    assert caller.client.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_own_page_reads(caller: Caller, site: str) -> None:
    """What the sandbox's own page asks for is served, as is what its reader types."""
    assert caller.client.get(STATE, headers={"Sec-Fetch-Site": site}).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x/json"],
)
def test_writes_have_to_be_json(caller: Caller, content_type: str | None) -> None:
    """A body that an HTML form could send drives nothing."""
    jwt = caller.jwt()
    headers = {} if content_type is None else {"Content-Type": content_type}
    refused = caller.client.post("/_sandbox/revoke", content=b"{}", headers=headers)

    assert refused.status_code == 415
    assert caller.register(jwt).status_code == 200


#: For each write, bodies that the description refuses, and a part of what their sender is told.
BAD_BODIES = {
    "fail": {
        "[]": "the body must be an object",
        "{}": "lacks kind",
        '{"kind": "meteor"}': 'kind must be one of "answer", "reset"',
        '{"kind": ["answer"]}': "kind must be one of",
        '{"kind": "answer"}': "lacks code",
        '{"kind": "answer", "code": 199}': "code must be an integer from 200 to 599",
        '{"kind": "answer", "code": 503.5}': "code must be an integer",
        '{"kind": "answer", "code": true}': "code must be an integer",
        '{"kind": "answer", "code": 503, "headers": {"a": 1}}': "each of headers must be the value",
        '{"kind": "answer", "code": 503, "headers": {"a": " x"}}': "each of headers must be",
        '{"kind": "answer", "code": 503, "headers": {"a b": ""}}': "each name in headers must be",
        '{"kind": "reset", "code": 503}': 'unknown field "code"; the fields are: kind, where',
        '{"kind": "reset", "times": 0}': "times must be an integer or null from 1",
        '{"kind": "reset", "where": "conect"}': 'where must be "connect", "refresh"',
        '{"kind": "hang", "seconds": -1}': "seconds must be a number or null from 0",
        '{"kind": "edit", "remove": [1]}': "each of remove must be a string",
    },
    "heal": {'{"where": 1}': "where must be", '{"were": "connect"}': 'unknown field "were"'},
    "revoke": {'{"tokens": "none"}': 'tokens must be one of "jwts", "refresh_tokens", "all"'},
    "expire": {
        '{"seconds": -0.1}': "seconds must be a number from 0",
        '{"seconds": "1"}': "seconds must be a number",
    },
    "reset": {"null": "the body must be an object", '{"counters": true}': "the fields are: none"},
}
#: The same for bodies that no schema is there for.
BEYOND = {
    "fail": {
        '{"kind": "answer", "code": 503, "headers": {"a": "x\\n"}}': "each of headers must be",
        '{"kind": "answer", "code": 503, "headers": {"Content-Length": "1"}}': "how long the body",
        '{"kind": "answer", "code": 503, "content_type": "a/b"}': "content_type needs a body",
        '{"kind": "hang", "seconds": NaN}': "seconds must be",
        '{"kind": "edit"}': "an edit needs fields or remove",
    },
    "expire": {'{"seconds": 1e400}': "seconds must be a number"},
    "reset-counters": {"": "must be JSON", "{": "must be JSON", "[" * 9999: "must be JSON"},
}


@pytest.mark.parametrize(
    ("act", "body", "detail"),
    [
        pytest.param(act, *case, id=f"{act} {case[0][:60]}")
        for act, cases in [*BAD_BODIES.items(), *BEYOND.items()]
        for case in cases.items()
    ],
)
def test_wrong_bodies_are_refused_in_words(
    caller: Caller, act: str, body: str, detail: str
) -> None:
    """A body that is not as documented does nothing, and is refused with what is wrong."""
    before = caller.client.get(STATE).json()["last_event_id"]
    headers = {"Content-Type": "application/json; charset=utf-8"}
    refused = caller.client.post(f"/_sandbox/{act}", content=body, headers=headers)

    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert detail in refused.json()["detail"]
    assert caller.client.get(STATE).json()["last_event_id"] == before


def test_long_bodies_are_refused(caller: Caller) -> None:
    """A body of more than 64 KiB is not read to its end."""
    chunks = (b" " * 65536 for _ in range(2))
    refused = caller.client.post("/_sandbox/reset", content=chunks, headers={"Content-Type": JSON})

    assert refused.status_code == 413


@pytest.mark.parametrize("path", ["/_sandbox", "/_sandbox/", "/_sandbox/nothing"])
def test_unknown_paths_are_told_so(caller: Caller, path: str) -> None:
    """Below `/_sandbox` nothing belongs to the API."""
    missing = caller.client.get(path)

    assert missing.status_code == 404
    assert "/_sandbox/openapi.json" in missing.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/_sandbox/state", "/_sandboxes", "//", "/v1"])
def test_other_paths_are_the_apis(path: str) -> None:
    """Only `/` and what is below `/_sandbox` is the control interface."""
    assert not is_control(path)


@pytest.fixture(name="document")
def _document(caller: Caller) -> dict[str, Any]:
    document: dict[str, Any] = caller.client.get("/_sandbox/openapi.json").json()
    return document


def test_the_description_is_valid(document: dict[str, Any]) -> None:
    """The description is OpenAPI 3.1, and each operation has a name of its own."""
    validate(document)
    names = [each["operationId"] for item in document["paths"].values() for each in item.values()]

    assert len(names) == len(set(names)) == 10


def test_the_description_agrees_with_the_routes(caller: Caller, document: dict[str, Any]) -> None:
    """Each path answers the methods that are described, and no others."""
    for path, item in document["paths"].items():
        if path == "/_sandbox/events":
            continue
        for method in ("get", "post", "patch", "put", "delete"):
            body = b'{"kind": "reset", "times": 1}' if path.endswith("fail") else b"{}"
            headers = {"Content-Type": JSON}
            answer = caller.client.request(method, path, content=body, headers=headers)
            assert answer.status_code == (200 if method in item else 405), (method, path)
            if method not in item:
                assert answer.headers["allow"].lower() in item


def test_the_description_covers_every_path(document: dict[str, Any]) -> None:
    """There is no path but the described ones and the page's."""
    from taxizer_async.testing._sandbox.control import control  # noqa: PLC0415

    assert {*control._READS, *control._WRITES} - {*control._PAGE} == {*document["paths"]}


def validator(document: dict[str, Any], schema: dict[str, Any]) -> OAS31Validator:
    return OAS31Validator({**schema, "components": document["components"]})


def test_states_are_as_described(caller: Caller, document: dict[str, Any]) -> None:
    """States answer to their schema, with a token and faults as without."""
    schema = {"$ref": "#/components/schemas/State"}
    check = validator(document, schema)
    check.validate(caller.client.get(STATE).json())
    caller.jwt()
    for fault in (
        {"kind": "hang"},
        {"kind": "edit", "remove": ["x"]},
        {"kind": "answer", "code": 500},
    ):
        caller.client.post("/_sandbox/fail", json={"times": 1, **fault})
    state = caller.client.get(STATE).json()
    check.validate(state)

    described = document["components"]["schemas"]["State"]["properties"]
    assert described.keys() == state.keys()
    assert described["counters"]["properties"].keys() == state["counters"].keys()


async def test_events_are_as_described(
    sandbox: Sandbox, caller: Caller, document: dict[str, Any]
) -> None:
    """Each kind of event answers to its schema, and has no other field."""
    token = caller.token()
    caller.refresh(token["refreshToken"])
    caller.register("wrong")
    caller.register(token["jwtToken"])
    sandbox.lifetime = 60
    sandbox.fail("/v1/x", Fault.status(503), times=1)
    sandbox.heal()
    sandbox.revoke()
    sandbox.expire()
    sandbox.reset_counters()
    async with following(sandbox) as stream:
        frames = await stream.until("reset")

    requests = {"login", "renewal", "unauthorized", "request"}
    for frame in frames:
        name = "Request" if frame.kind in requests else frame.kind.capitalize()
        schema = document["components"]["schemas"][f"{name}Event"]
        validator(document, schema).validate(frame.data)
        assert schema["properties"].keys() == frame.data.keys()
    assert len({frame.kind for frame in frames}) == 10


@pytest.mark.parametrize(
    ("act", "body"), [(act, body) for act, cases in BAD_BODIES.items() for body in cases]
)
def test_the_description_refuses_what_the_sandbox_refuses(
    document: dict[str, Any], act: str, body: str
) -> None:
    """A body that the sandbox refuses is none by the description, either."""
    content = document["paths"][f"/_sandbox/{act}"]["post"]["requestBody"]["content"]

    assert not validator(document, content[JSON]["schema"]).is_valid(json.loads(body))
