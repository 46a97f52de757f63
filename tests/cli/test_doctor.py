"""What `doctor` says of a healthy set-up, and of each fault that it can find."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from taxizer_async.testing import Fault, Sandbox
from tests.support.families import PATIENCE
from tests.support.forward_proxy import ForwardProxy
from tests.support.raw_server import RawServer, answer, reset
from tests.support.redis_server import RedisServer

from .conftest import CANARY, CLIENT_CANARY, REDIS_CANARY, Run, clean_environment, secrets_of
from .demos import start_on_terminal


pytestmark = pytest.mark.slow

PROXY_CANARY = f"{CANARY}-of-the-proxy"
RESOURCE = "/v1/Invoices/GenerateInvoiceFromXml"
GREETING = answer(b"", "Date: Sun, 06 Nov 1994 08:49:37 GMT")


@attrs.frozen
class Diagnosis:
    code: int
    lines: dict[str, tuple[str, str]]

    def check(self, name: str, state: str, words: str, code: int) -> None:
        """Check the line *name*, and the exit code."""
        found_state, found_words = self.lines[name]

        assert re.fullmatch(words, found_words), found_words
        assert (found_state, self.code) == (state, code)

    def states(self, *names: str) -> set[str]:
        return {self.lines[name][0] for name in names}


@pytest.fixture(name="doctor")
def _doctor(run: Run, sandbox: Sandbox, account: dict[str, str]) -> Any:
    def doctor(*args: str, **env: str) -> Diagnosis:
        done = run("doctor", *args, **account | env)
        shown = done.stdout + done.stderr

        assert done.stderr == ""
        assert not [secret for secret in secrets_of(sandbox) if secret in shown]
        rows = [re.split(" {2,}", line, maxsplit=2) for line in done.stdout.splitlines()]
        return Diagnosis(done.returncode, {name: (state, words) for name, state, words in rows})

    return doctor


@pytest.fixture(name="redis_server")
def _redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture(name="free_port")
def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def tls_server(**of_certificate: Any) -> tuple[trustme.CA, ssl.SSLContext]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = of_certificate.pop("names", ["127.0.0.1"])
    authority.issue_cert(*names, **of_certificate).configure_cert(context)
    return authority, context


def test_healthy(doctor: Any, sandbox: Sandbox, file_store: dict[str, str]) -> None:
    """Of a healthy set-up each line is ok, with one login and nothing that is kept or submitted."""
    found = doctor("--store", "file", **file_store)
    host = sandbox.base_url.removeprefix("http://")

    assert found.code == 0
    assert {state for state, _ in found.lines.values()} == {"ok"}
    words = {name: words for name, (_, words) in found.lines.items()}
    assert re.match(r"taxizer-async \S+, Python \S+, .*httpx \S+", words.pop("versions"))
    assert re.fullmatch(rf"{host} takes connections, within \d+ ms", words.pop("tcp"))
    assert re.fullmatch(r"[012] s (ahead of|behind) the server's", words.pop("clock"))
    assert words == {
        "credentials": "the clientId and the clientSecret are set",
        "url": f"{sandbox.base_url} is on this machine, as a sandbox is; it is not Taxizer",
        "proxy": "none is used",
        "dns": "127.0.0.1 is at 127.0.0.1",
        "tls": "not used, as http is for this machine only",
        "login": "as SandboxApp of SandboxAccount; the token lives 900 s",
        "bearer": "taken: an empty request gets 200, and 401 without the token",
        "store": f"file in {file_store['TAXIZER_STORE_PATH']} can be used",
    }
    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes) == (1, 0)
    sent = [(entry.method, entry.path) for entry in sandbox.resource_log]
    assert sent == [("GET", RESOURCE), ("POST", RESOURCE), ("POST", RESOURCE)]


def test_json(run: Run, doctor: Any, sandbox: Sandbox, account: dict[str, str]) -> None:
    """`--json` says the same, without a secret, and with the exit code in it."""
    sandbox.change_secret("another")
    lines = doctor().lines
    done = run("doctor", "--json", **account)
    shown = json.loads(done.stdout)

    assert (done.returncode, shown["exit_code"], done.stderr) == (1, 1, "")
    assert [list(check) for check in shown["checks"]] == [
        ["name", "state", "text", "advice"]
    ] * len(lines)
    assert {
        check["name"]: (check["state"], ": ".join(filter(None, (check["text"], check["advice"]))))
        for check in shown["checks"]
        if check["name"] not in {"tcp", "clock"}
    } == {name: line for name, line in lines.items() if name not in {"tcp", "clock"}}
    assert not [secret for secret in secrets_of(sandbox) if secret in done.stdout]


def test_on_a_terminal(sandbox: Sandbox, account: dict[str, str]) -> None:
    """On a terminal the advice has a line of its own, and there is no secret."""
    sandbox.change_secret("another")
    with start_on_terminal("doctor", **account) as finish:
        ran = finish()

    assert ran.code == 1
    assert re.search(r"refused.*Connect refuses the pair \(400\)", ran.stdout)
    assert re.search(r"-> copy both from the Taxizer dashboard", ran.stdout)
    assert not [secret for secret in secrets_of(sandbox) if secret in ran.stdout]


def test_on_a_narrow_terminal(sandbox: Sandbox, account: dict[str, str]) -> None:
    """With little room what was found has lines to itself, so that no host or word is cut in two."""
    with start_on_terminal("doctor", COLUMNS="40", **account) as finish:
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", finish().stdout)

    assert re.search(rf"tcp ok\r\n  127.0.0.1:{sandbox.port} takes connections", shown)
    assert re.search(r"store skipped\r\n  none was named *\r\n  -> give --store file", shown)


def test_the_cursor_is_not_hidden(account: dict[str, str]) -> None:
    """The spinner leaves the cursor visible, as a process that a signal ends could not bring it back."""
    with start_on_terminal("doctor", **account) as finish:
        before, _, _ = finish().stdout.partition("credentials")

    assert before.count("\x1b[?25h") == before.count("\x1b[?25l") == 1


def test_an_interrupt(sandbox: Sandbox, account: dict[str, str]) -> None:
    """Ctrl-C ends it silently with the exit code of an interrupt, after the lines so far."""
    with (
        sandbox.hold("connect") as gate,
        subprocess.Popen(
            [sys.executable, "-m", "taxizer_async", "doctor"],
            env=clean_environment(account),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        ) as process,
    ):
        gate.wait_until(1, PATIENCE)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE)

    assert (process.returncode, stderr) == (130, "")
    assert stdout.splitlines()[-1].startswith("clock")


@pytest.mark.parametrize(
    ("changes", "state", "words", "code"),
    [
        pytest.param(
            {"TAXIZER_CLIENT_ID": ""},
            "misconfigured",
            r"TAXIZER_CLIENT_ID is not set \(nor is TAXIZER_CLIENT_ID_FILE\): set one of them",
            2,
            id="unset",
        ),
        pytest.param(
            {"TAXIZER_CLIENT_SECRET": "", "TAXIZER_CLIENT_SECRET_FILE": f"/{CLIENT_CANARY}"},
            "misconfigured",
            r"TAXIZER_CLIENT_SECRET_FILE does not name .*\(FileNotFoundError\): check the path in it",
            2,
            id="no-file",
        ),
        pytest.param(
            {"TAXIZER_CLIENT_SECRET_FILE": "/secret"},
            "misconfigured",
            r"both TAXIZER_CLIENT_SECRET and TAXIZER_CLIENT_SECRET_FILE are set: .*",
            2,
            id="both",
        ),
        pytest.param(
            {"TAXIZER_CLIENT_SECRET": f"{CLIENT_CANARY} "},
            "warning",
            "TAXIZER_CLIENT_SECRET begins or ends with white space: remove it, .*",
            1,
            id="white-space",
        ),
        pytest.param(
            {"TAXIZER_CLIENT_SECRET": f'"{CLIENT_CANARY}"'},
            "warning",
            "TAXIZER_CLIENT_SECRET is in quotation marks: remove it, .*",
            1,
            id="quoted",
        ),
        pytest.param(
            {"TAXIZER_CLIENT_SECRET": f"{CLIENT_CANARY}\nsecond"},
            "warning",
            "TAXIZER_CLIENT_SECRET has a line break in it, .*: remove it, .*",
            1,
            id="two-lines",
        ),
        pytest.param(
            {"TAXIZER_CLIENT_SECRET": os.fsdecode(CLIENT_CANARY.encode() + b"\xff")},
            "warning",
            "TAXIZER_CLIENT_SECRET has a line break in it, or another character .*",
            1,
            id="not-utf-8",
        ),
    ],
)
def test_credentials(
    doctor: Any, changes: dict[str, str], state: str, words: str, code: int
) -> None:
    """Credentials that are missing, unreadable, set twice or odd are told; the other checks go on."""
    found = doctor(**changes)

    found.check("credentials", state, words, code)
    assert found.lines["tcp"][0] == "ok"
    if code == 2:
        assert found.lines["login"][1] == "not tried, because credentials failed"
        assert found.states("login", "bearer") == {"skipped"}


def test_a_wrong_url(doctor: Any) -> None:
    """A URL that can't be is told, and nothing is sent there."""
    found = doctor(TAXIZER_BASE_URL=f"https://me:{CANARY}@api.example.com")

    words = r"TAXIZER_BASE_URL \(or --base-url\) holds a user name or password: leave them out"
    found.check("url", "misconfigured", words, 2)
    for name in ("proxy", "dns", "tcp", "tls", "clock", "login", "bearer"):
        assert found.lines[name] == ("skipped", "not tried, because url failed")


def test_a_url_with_a_path(doctor: Any, account: dict[str, str]) -> None:
    """The URL of a call in place of the API's is told, though a gateway may need a path."""
    url = f"{account['TAXIZER_BASE_URL']}/v1/Auth/Connect"
    found = doctor(TAXIZER_BASE_URL=url)

    found.check("url", "warning", f"{url} has a path: leave it out, unless your gateway .*", 1)


def test_a_host_that_is_not_known(doctor: Any) -> None:
    """A host that is not Taxizer's is a warning; one that DNS does not know can't be reached."""
    found = doctor(TAXIZER_BASE_URL="https://nowhere.invalid")

    words = (
        "https://nowhere.invalid is not a host of Taxizer: check TAXIZER_BASE_URL, unless this is "
        "your gateway to it"
    )
    assert found.lines["url"] == ("warning", words)
    found.check(
        "dns",
        "unavailable",
        "nowhere.invalid can't be resolved: check the host in TAXIZER_BASE_URL, and the DNS .*",
        3,
    )


def test_a_host_that_can_not_be(doctor: Any) -> None:
    """A name that DNS can't even be asked for is told like one that it does not know."""
    found = doctor(TAXIZER_BASE_URL=f"https://{'a' * 64}.example.com")

    words = "a{64}.example.com can't be resolved: check the host in TAXIZER_BASE_URL, .*"
    found.check("dns", "unavailable", words, 3)


def test_a_closed_port_of_ipv6(doctor: Any, free_port: int) -> None:
    """An IPv6 address is told apart from its port."""
    found = doctor(TAXIZER_BASE_URL=f"http://[::1]:{free_port}")

    found.check("tcp", "unavailable", rf"no connection to \[::1\]:{free_port} .*", 3)


def test_a_closed_port(doctor: Any, free_port: int) -> None:
    """A port that takes no connections is told."""
    found = doctor(TAXIZER_BASE_URL=f"http://127.0.0.1:{free_port}")

    words = (
        rf"no connection to 127.0.0.1:{free_port} \(Connection refused\): check the host and the "
        "port in TAXIZER_BASE_URL, and the firewall"
    )
    found.check("tcp", "unavailable", words, 3)
    assert found.lines["login"] == ("skipped", "not tried, because tcp failed")


LONG_AGO = dt.datetime(2001, 2, 3, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("trusted", "certificate", "words"),
    [
        pytest.param(
            True, {}, r"TLSv1.3, with a certificate by trustme \S+ until \d{4}-\d\d-\d\d", id="good"
        ),
        pytest.param(
            False,
            {},
            r"the certificate is not accepted \(unable to get local issuer certificate\): if a proxy "
            "of your company opens TLS, name a file with its CA in SSL_CERT_FILE",
            id="unknown-ca",
        ),
        pytest.param(
            True,
            {"not_after": LONG_AGO},
            r"the certificate is not accepted \(certificate has expired\): check the clock of this .*",
            id="expired",
        ),
        pytest.param(
            True,
            {"names": ["api.example.com"]},
            r"the certificate is not accepted \(.* not valid for '127.0.0.1'\): check the host .*",
            id="another-host",
        ),
    ],
)
def test_certificates(
    doctor: Any, tmp_path: Path, trusted: bool, certificate: dict[str, Any], words: str
) -> None:
    """A good certificate is shown with its CA and its end; of one that is not accepted it is told why."""
    authority, context = tls_server(**certificate)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    more = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")} if trusted else {}
    with RawServer((GREETING,), tls=context) as server:
        found = doctor(**more, TAXIZER_BASE_URL=server.base_url)

    good = words.startswith("TLS")
    # The good one has no Connect.
    found.check("tls", "ok" if good else "unavailable", words, 3)
    assert (found.lines["login"][0] == "skipped") is not good


def test_an_issuer_with_two_names_in_one(doctor: Any, tmp_path: Path) -> None:
    """The issuer is read, too, if its certificate joins its names."""
    key, file = ec.generate_private_key(ec.SECP256R1()), tmp_path / "both.pem"
    names = (NameOID.ORGANIZATION_NAME, "An authority"), (NameOID.COMMON_NAME, "Root")
    joined = x509.RelativeDistinguishedName(x509.NameAttribute(*each) for each in names)
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = x509.CertificateBuilder(x509.Name([joined]), x509.Name([joined]), key.public_key(), 1)
    builder = builder.not_valid_before(LONG_AGO).not_valid_after(LONG_AGO.replace(year=3000))
    builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(plain + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with RawServer((GREETING,), tls=context) as server:
        trusted = {"SSL_CERT_FILE": str(file), "TAXIZER_BASE_URL": server.base_url}
        found = doctor(**trusted)

    found.check("tls", "ok", "TLSv1.3, with a certificate by An authority until 3000-02-03", 3)


def test_no_tls(doctor: Any, sandbox: Sandbox) -> None:
    """A port that speaks no TLS is told."""
    found = doctor(TAXIZER_BASE_URL=sandbox.base_url.replace("http", "https"))

    words = r"TLS fails \([A-Z_]+\): check the port in TAXIZER_BASE_URL: something else may .*"
    found.check("tls", "unavailable", words, 3)


def test_a_missing_ca_bundle(doctor: Any) -> None:
    """A CA bundle that is not there is told."""
    found = doctor(SSL_CERT_FILE="/missing.pem")

    words = r"no HTTP client can be made \(FileNotFoundError\): check SSL_CERT_FILE, .*"
    found.check("tls", "misconfigured", words, 2)


def test_a_connection_that_breaks(doctor: Any) -> None:
    """A connection that breaks is told at each check, as a check that fails is not the end of the others."""
    with RawServer((reset,)) as server:
        found = doctor(TAXIZER_BASE_URL=server.base_url)

    found.check(
        "clock", "unavailable", r"it failed: ReadError \(Connection reset .*\): the API, .*", 3
    )
    found.check("login", "unavailable", r"no token from Connect: ReadError .*: try again in .*", 3)


def test_a_proxy(doctor: Any, account: dict[str, str]) -> None:
    """A proxy that the environment names is told and used, and its password is not shown."""
    with ForwardProxy() as proxy:
        url = proxy.url.replace("//", f"//me:{PROXY_CANARY}@")
        found = doctor(HTTP_PROXY=url)

    host = proxy.url.removeprefix("http://")
    found.check("proxy", "ok", f"requests go through {host}", 0)
    assert found.lines["tcp"][1].startswith(f"{host} takes connections")
    assert f"POST {account['TAXIZER_BASE_URL']}/v1/Auth/Connect HTTP/1.1" in proxy.lines


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://me:{PROXY_CANARY}@proxy",
        "http://",
        "http://a:b:c",
        "http://xn--9999999999999999999999999a:80",
    ],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY"])
def test_no_url_of_a_proxy(doctor: Any, variable: str, url: str) -> None:
    """A variable that holds no URL of a proxy is told, even one for other requests: no login gets past it."""
    found = doctor(**{variable: url})

    words = "a proxy variable does not hold the URL of a proxy: set it to one such as .*"
    found.check("proxy", "misconfigured", words, 2)


@pytest.mark.parametrize(
    "no_proxy", ["127.0.0.1:{port}", "http://127.0.0.1", "10.0.0.1, 127.0.0.1", "*"]
)
def test_no_proxy(doctor: Any, sandbox: Sandbox, no_proxy: str) -> None:
    """An entry of NO_PROXY means what it means to a login, so that what is told is what is used."""
    with ForwardProxy() as proxy:
        exempt = {"NO_PROXY": no_proxy.format(port=sandbox.port)}
        found = doctor(**exempt, HTTP_PROXY=proxy.url)

    found.check("proxy", "ok", "none is used", 0)
    assert not proxy.lines


def test_a_port_that_no_proxy_does_not_name(doctor: Any, free_port: int) -> None:
    """An entry of NO_PROXY for another port exempts nothing."""
    with ForwardProxy() as proxy:
        found = doctor(NO_PROXY=f"127.0.0.1:{free_port}", HTTP_PROXY=proxy.url)

    found.check("proxy", "ok", "requests go through .*", 0)
    assert proxy.lines


def test_a_no_proxy_that_is_not_understood(doctor: Any) -> None:
    """An entry of NO_PROXY with which no client can be made is told."""
    found = doctor(NO_PROXY=f"localhost,{PROXY_CANARY}:[")

    words = "NO_PROXY has an entry that is not understood: write .*"
    found.check("proxy", "misconfigured", words, 2)


@pytest.mark.skipif(find_spec("socksio") is not None, reason="SOCKS is installed")
def test_a_proxy_of_socks(doctor: Any) -> None:
    """A proxy that needs a missing package is told, and the package."""
    found = doctor(ALL_PROXY=f"socks5://me:{PROXY_CANARY}@127.0.0.1:1080")

    words = r'socks5 needs a package that is not installed: pip install "httpx\[socks\]"'
    found.check("proxy", "misconfigured", words, 2)


def test_a_proxy_that_is_down(doctor: Any, free_port: int) -> None:
    """A proxy that takes no connections is told as the proxy."""
    found = doctor(HTTP_PROXY=f"127.0.0.1:{free_port}")

    words = rf"no connection to 127.0.0.1:{free_port} \(Connection refused\): check the proxy variable, .*"
    found.check("tcp", "unavailable", words, 3)


def test_a_proxy_that_is_not_known(doctor: Any) -> None:
    """A proxy that DNS does not know is told as the proxy."""
    found = doctor(HTTP_PROXY="http://nowhere.invalid:3128")

    words = "nowhere.invalid can't be resolved: check the host in the proxy variable, .*"
    found.check("dns", "unavailable", words, 3)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ("407 Who are you?", "the proxy answers 407: check the user name and the password .*"),
        ("403 Forbidden", "the proxy answers 403: have it let requests to the API through, .*"),
    ],
)
def test_a_proxy_that_refuses(doctor: Any, refusal: str, words: str) -> None:
    """A proxy that lets nothing through is told, with what it answers."""
    with ForwardProxy(refusal=refusal) as proxy:
        url = proxy.url.replace("//", f"//me:{PROXY_CANARY}@")
        changes = {"TAXIZER_BASE_URL": "https://127.0.0.1:9", "HTTPS_PROXY": url}
        found = doctor(**changes)

    found.check("tls", "unavailable", words, 3)


@pytest.mark.parametrize(("offset", "words"), [(3600, "behind"), (-3600, "ahead of")])
def test_a_wrong_clock(run: Run, offset: float, words: str) -> None:
    """A clock that differs from the server's is a warning, as it costs no token."""
    with Sandbox(clock_offset=offset, client_secret=CLIENT_CANARY) as sandbox:
        done = run(
            "doctor",
            TAXIZER_BASE_URL=sandbox.base_url,
            TAXIZER_CLIENT_ID=sandbox.client_id,
            TAXIZER_CLIENT_SECRET=CLIENT_CANARY,
        )

    line = (
        rf"^clock +warning +(3[56]\d\d) s {words} the server's: set it \(NTP\): tokens do not .*$"
    )
    assert re.search(line, done.stdout, re.MULTILINE)
    assert re.search(r"^login +ok ", done.stdout, re.MULTILINE)
    assert done.returncode == 0


def test_a_server_without_a_clock(doctor: Any) -> None:
    """Without a `Date` there is nothing to compare the clock with."""
    with RawServer((answer(b""),)) as server:
        found = doctor(TAXIZER_BASE_URL=server.base_url)

    assert found.lines["clock"] == ("skipped", "the server does not tell its time")


def test_a_wrong_pair(doctor: Any, sandbox: Sandbox) -> None:
    """A pair that Connect refuses is told; it is tried once."""
    sandbox.change_secret("another")
    found = doctor()

    words = r"Connect refuses the pair \(400\): copy both from the Taxizer dashboard again, .*"
    found.check("login", "refused", words, 1)
    assert found.lines["bearer"] == ("skipped", "not tried, because login failed")
    assert sandbox.counters.connects == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(
            Fault.status(503),
            "no token from Connect: answered 503 Service Unavailable: try again in a minute",
            id="503",
        ),
        pytest.param(
            Fault.status(404, body=f"<html>{CANARY}"),
            "Connect answered 404 with .*, which is not documented: check TAXIZER_BASE_URL, and .*",
            id="page",
        ),
        pytest.param(
            Fault.junk(b'{"jwtToken": 1, "echo": "canary"}'),
            "Connect answered 200 with .*, which is not documented: check TAXIZER_BASE_URL, and .*",
            id="junk",
        ),
    ],
)
def test_no_token(doctor: Any, sandbox: Sandbox, fault: Fault, words: str) -> None:
    """A Connect that gives no token is told, without a value of its answer; it is tried once."""
    sandbox.fail("connect", fault)

    doctor().check("login", "unavailable", words, 3)
    assert sandbox.counters.connects == 1


@pytest.mark.parametrize(
    ("status", "state", "words", "code"),
    [
        (401, "refused", r"the API refuses the token that it has just issued \(401\): ask .*", 1),
        (503, "unavailable", "the API answers 503 to a request with the token: try again .*", 3),
        (
            404,
            "warning",
            "it can't be told: without a token the API answers 404, with one 404: check .*",
            0,
        ),
    ],
)
def test_a_bearer_that_is_not_taken(
    doctor: Any, sandbox: Sandbox, status: int, state: str, words: str, code: int
) -> None:
    """A token that the API refuses, or that it can't be seen to take, is told."""
    sandbox.fail(RESOURCE, Fault.status(status))

    doctor().check("bearer", state, words, code)


@pytest.mark.parametrize(
    ("status", "state", "words", "code"),
    [
        (400, "ok", "taken: an empty request gets 400, and 401 without the token", 0),
        (403, "refused", r"the API takes the token, but forbids .* \(403\): ask Taxizer .*", 1),
        (302, "warning", "it can't be told: without a token .* 401, with one 302: check .*", 0),
        (404, "warning", "it can't be told: without a token .* 401, with one 404: check .*", 0),
    ],
)
def test_what_an_empty_request_tells(
    doctor: Any, sandbox: Sandbox, status: int, state: str, words: str, code: int
) -> None:
    """Only an answer to the empty request itself, such as 400, shows that the API takes the token."""
    # The check of the clock asks it first.
    sandbox.fail(RESOURCE, Fault.status(401), times=2)
    sandbox.fail(RESOURCE, Fault.status(status))

    doctor().check("bearer", state, words, code)


def test_no_store(doctor: Any) -> None:
    """Without a store there is none to check."""
    words = "none was named: give --store file or redis to check one"
    doctor().check("store", "skipped", words, 0)


def test_a_redis(doctor: Any, account: dict[str, str], redis_server: RedisServer) -> None:
    """A user of Redis with rights below a prefix can be checked with that prefix."""
    rule = f"ACL SETUSER till reset on >{REDIS_CANARY} ~a:taxizer_async:* +@all"
    assert redis_server.ask(rule) == b"+OK\r\n"
    env = {
        **account,
        "TAXIZER_REDIS_URL": redis_server.url.replace("//", f"//till:{REDIS_CANARY}@"),
    }
    found = doctor("--store", "redis", "--redis-prefix", "a:", **env)
    refused = doctor("--store", "redis", **env)

    found.check("store", "ok", "redis with the prefix a: can be used", 0)
    words = r"Redis can't be used \(NOPERM\): the user lacks a right: .* on ~taxizer_async:\*.*"
    refused.check("store", "unavailable", words, 3)


def test_a_redis_that_is_down(doctor: Any, free_port: int) -> None:
    """A Redis that is down is told; the other checks go on."""
    url = f"redis://:{REDIS_CANARY}@127.0.0.1:{free_port}"
    found = doctor("--store", "redis", TAXIZER_REDIS_URL=url)

    found.check("store", "unavailable", r"Redis can't be reached \(\w+\): is it up, .*", 3)
    assert found.states("login", "bearer", "versions") == {"ok"}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("redis", {}, "the redis store needs to know where Redis is: give --redis-url, or .*"),
        ("redis", {"TAXIZER_REDIS_URL": CANARY}, ".*"),
        (
            "redis",
            {"TAXIZER_REDIS_PREFIX": "*", "TAXIZER_REDIS_URL": "redis://a"},
            "prefix must be .*",
        ),
        ("file", {"TAXIZER_ENCRYPTION_KEY": ","}, "TAXIZER_ENCRYPTION_KEY has no key in it: .*"),
        ("file", {"TAXIZER_ENCRYPTION_KEY": CANARY}, ".*key.*"),
        ("file", {"TAXIZER_ENCRYPTION_KEY_FILE": "/missing"}, "TAXIZER_ENCRYPTION_KEY_FILE .*"),
    ],
)
def test_a_store_that_is_set_wrongly(
    doctor: Any, file_store: dict[str, str], kind: str, changes: dict[str, str], words: str
) -> None:
    """A setting of the store that can't be is told as a fault of the store."""
    doctor("--store", kind, **file_store, **changes).check("store", "misconfigured", words, 2)


def test_a_directory_of_others(doctor: Any, file_store: dict[str, str], folder: Path) -> None:
    """A directory that others can write to is no place for tokens."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    found = doctor("--store", "file", **file_store)

    found.check(
        "store", "unavailable", f"{folder} can be written to by others .*: name a new .*", 3
    )


def test_an_encrypted_store(file_store: dict[str, str], run: Run) -> None:
    """The key of a store is used, and not shown."""
    key = Fernet.generate_key().decode()
    done = run("doctor", "--store", "file", **file_store, TAXIZER_ENCRYPTION_KEY=key)

    assert (done.returncode, done.stderr) == (0, "")
    assert key not in done.stdout


def test_an_old_package(doctor: Any, tmp_path: Path) -> None:
    """A dependency that is older than needed is told, with the command that mends it."""
    found = tmp_path / "cattrs-1.2.3.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: cattrs\nVersion: 1.2.3\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    words = r'too old: cattrs 1\.2\.3: pip install "cattrs>=[\d.]+"'
    doctor(PYTHONPATH=path).check("versions", "misconfigured", words, 2)
