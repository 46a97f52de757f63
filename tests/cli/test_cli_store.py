"""The commands with a shared store: what is kept, what is shown, and what stays secret."""

from __future__ import annotations

import stat
import subprocess
import sys

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from cryptography.fernet import Fernet

from taxizer_async import Secret, Token
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault, Sandbox
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer

from .conftest import (
    CLIENT_CANARY,
    REDIS_CANARY,
    Run,
    clean_environment,
    error_of,
    rows_of,
    run_impatiently,
    run_python,
    run_without,
    secrets_of,
)


pytestmark = pytest.mark.slow


@pytest.fixture(name="redis_server", scope="module")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        server.ask(f"CONFIG SET requirepass {REDIS_CANARY}")
        yield server


@pytest.fixture(name="kind", params=["file", "redis"])
def _kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(name="shared")
def _shared(
    kind: str, account: dict[str, str], file_store: dict[str, str], request: pytest.FixtureRequest
) -> dict[str, str]:
    if kind == "file":
        return file_store
    server: RedisServer = request.getfixturevalue("redis_server")
    server.ask(f"AUTH {REDIS_CANARY}\r\nFLUSHALL")
    return account | {"TAXIZER_REDIS_URL": url_of(server)}


def url_of(server: RedisServer) -> str:
    return f"redis://:{REDIS_CANARY}@127.0.0.1:{server.port}/0"


def put(folder: Path, sandbox: Sandbox, record: TokenRecord) -> None:
    """Keep *record* for the sandbox's app."""

    async def save() -> None:
        store, key = FileTokenStore(folder), StoreKey(sandbox.base_url, sandbox.client_id)
        lease = await store.lease(key)
        assert lease is not None
        assert await store.save(key, record, lease)
        await lease.release()

    anyio.run(save)


def record(**changes: Any) -> TokenRecord:
    token = Token(
        jwt=Secret("canary-jwt"),
        refresh_token=Secret("canary-refresh"),
        expires_at=datetime(2030, 1, 2, 3, 4, 5, 600_000, UTC),
        account_name="Müller \x1b[2J",
    )
    whole = TokenRecord(
        token=token,
        version="v",
        lifetime=900.0,
        refresh_lifetime=86_400.0,
        age=0.0,
        refresh_spent=False,
    )
    return attrs.evolve(whole, **changes)


def test_a_second_token_makes_no_login(
    run: Run, sandbox: Sandbox, kind: str, shared: dict[str, str]
) -> None:
    """With a store a later run prints the same token, and everything is closed."""
    shared["PYTHONWARNINGS"] = "always::ResourceWarning"
    first, second = (run("token", "--store", kind, **shared) for _ in range(2))

    assert [first.stdout, second.stdout] == [f"{sandbox.issued_jwts[0]}\n"] * 2
    assert first.stderr == second.stderr == ""
    assert sandbox.counters.exchanges == 1


def test_whoami_uses_the_store(
    run: Run, sandbox: Sandbox, kind: str, shared: dict[str, str]
) -> None:
    """`whoami` uses the token that `token` has stored."""
    run("token", "--store", kind, **shared)
    done = run("whoami", "--store", kind, **shared)

    assert rows_of(done)["username"] == "sandbox-user"
    assert sandbox.counters.exchanges == 1


def test_nothing_is_kept_by_default(
    run: Run, sandbox: Sandbox, account: dict[str, str], tmp_path: Path
) -> None:
    """Without a store each run logs in, and leaves no file behind."""
    for _ in range(2):
        run("token", XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path), **account)

    assert sandbox.counters.connects == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("state_home", "place"),
    [
        pytest.param("{home}/state", "state/taxizer_async", id="xdg"),
        pytest.param("", ".local/state/taxizer_async", id="home"),
        pytest.param("relative", ".local/state/taxizer_async", id="relative"),
    ],
)
def test_the_default_directory(
    run: Run, account: dict[str, str], tmp_path: Path, state_home: str, place: str
) -> None:
    """A file store is in the user's state directory, where no other user can read it."""
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": state_home.format(home=tmp_path)}
    done = run("token", "--store", "file", **home, **account)
    shown = run("store", "show", **home, **account)
    folder = tmp_path / place
    kept = [path for path in folder.iterdir() if path.suffix == ".json"]

    assert (done.returncode, done.stderr) == (0, "")
    assert rows_of(shown)["store"] == f"file in {folder}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept] == [0o600]


def test_the_option_goes_before_the_environment(
    run: Run, file_store: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    """`--store-path` has precedence over the environment."""
    elsewhere = tmp_path / "elsewhere"
    run("token", "--store", "file", "--store-path", str(elsewhere), **file_store)

    assert elsewhere.is_dir()
    assert not folder.exists()


def test_show_without_a_record(run: Run, kind: str, shared: dict[str, str]) -> None:
    """Without a record `store show` says so, exits with 1, and creates nothing."""
    done = run("store", "show", "--store", kind, **shared)

    assert (done.returncode, done.stderr) == (1, "")
    assert rows_of(done)["token"] == "none"
    assert not Path(shared.get("TAXIZER_STORE_PATH", "/none")).exists()


def test_show(run: Run, sandbox: Sandbox, kind: str, shared: dict[str, str]) -> None:
    """`store show` shows what is kept and no secret, and needs no client secret."""
    run("token", "--store", kind, **shared)
    del shared["TAXIZER_CLIENT_SECRET"]
    done = run("store", "show", "--store", kind, **shared)
    rows = rows_of(done)

    assert (done.returncode, done.stderr) == (0, "")
    assert 0 <= float(rows.pop("age").removesuffix(" s")) < PATIENCE
    assert 900 - PATIENCE < float(rows.pop("expires_in").removesuffix(" s")) <= 900
    assert rows.pop("expires_at").endswith("Z")
    assert rows.pop("store").startswith(kind)
    assert rows == {
        "base_url": sandbox.base_url,
        "client_id": "sandbox-client",
        "encryption": "off",
        "token": "fresh",
        "refresh_token": "good",
        "app_name": "SandboxApp",
        "app_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "account_name": "SandboxAccount",
        "account_id": "acc12345",
        "username": "sandbox-user",
    }
    assert not [secret for secret in secrets_of(sandbox) if secret in done.stdout]
    assert sandbox.counters.exchanges == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"age": 700.0}, {"token": "renewal_due"}, id="renew-ahead"),
        pytest.param({"age": 890.0}, {"token": "renewal_due"}, id="must-renew"),
        pytest.param({"age": 1000.0}, {"token": "expired", "expires_in": "0 s"}, id="expired"),
        pytest.param({"lifetime": 0.0}, {"expires_in": "unknown"}, id="unknown-life"),
        pytest.param({"refresh_spent": True}, {"refresh_token": "spent"}, id="spent"),
        pytest.param({"age": 90_000.0}, {"refresh_token": "expired"}, id="refresh-expired"),
        pytest.param({"refresh_lifetime": None}, {"refresh_token": "good"}, id="refresh-unknown"),
        pytest.param(
            {"token": Token(jwt=Secret("canary-jwt"))},
            {"refresh_token": "none", "app_name": "unknown", "expires_at": "unknown"},
            id="bare",
        ),
        pytest.param({}, {"account_name": "Müller ?[2J"}, id="control-characters"),
    ],
)
def test_show_states(
    run: Run,
    sandbox: Sandbox,
    file_store: dict[str, str],
    folder: Path,
    changes: dict[str, object],
    expected: dict[str, str],
) -> None:
    """`store show` names the state of the token as `AuthStatus` does, and that of the refresh token."""
    put(folder, sandbox, record(**changes))
    done = run("store", "show", **file_store)

    assert done.returncode == 0
    assert rows_of(done).items() >= expected.items()
    assert "canary" not in done.stdout


def test_show_is_for_one_app_of_one_api(
    run: Run, sandbox: Sandbox, file_store: dict[str, str]
) -> None:
    """`store show` shows no record of another app or API; a slash at the end of a URL makes no difference."""
    run("token", "--store", "file", **file_store)
    same = run("store", "show", "--base-url", f"{sandbox.base_url}/", **file_store)
    other = run("store", "show", "--base-url", "https://example.com", **file_store)
    file_store["TAXIZER_CLIENT_ID"] = "another"
    another = run("store", "show", **file_store)

    assert (same.returncode, other.returncode, another.returncode) == (0, 1, 1)


def test_show_never_waits(run: Run, sandbox: Sandbox, file_store: dict[str, str]) -> None:
    """`store show` and `store clear` neither wait for a login nor disturb it."""
    with (
        sandbox.hold("connect") as gate,
        subprocess.Popen(
            [sys.executable, "-m", "taxizer_async", "token", "--store", "file"],
            env=clean_environment(file_store),
            stdout=subprocess.PIPE,
        ) as process,
    ):
        gate.wait_until(1, PATIENCE)
        meanwhile = [
            run("store", command, **file_store).returncode for command in ("show", "clear")
        ]
        gate.release()
        process.communicate(timeout=PATIENCE)

    assert meanwhile == [1, 0]
    assert process.returncode == 0
    assert run("store", "show", **file_store).returncode == 0


def test_clear(run: Run, sandbox: Sandbox, kind: str, shared: dict[str, str]) -> None:
    """`store clear` drops the record silently, even if there is none."""
    run("token", "--store", kind, **shared)
    secret = shared.pop("TAXIZER_CLIENT_SECRET")
    cleared = [run("store", "clear", "--store", kind, **shared) for _ in range(2)]
    shown = run("store", "show", "--store", kind, **shared)
    run("token", "--store", kind, TAXIZER_CLIENT_SECRET=secret, **shared)

    assert [(done.returncode, done.stdout, done.stderr) for done in cleared] == [(0, "", "")] * 2
    assert shown.returncode == 1
    assert sandbox.counters.connects == 2


def test_encryption(run: Run, sandbox: Sandbox, file_store: dict[str, str], folder: Path) -> None:
    """With a key nothing is kept in the clear, and runs with the key share the token."""
    file_store["TAXIZER_ENCRYPTION_KEY"] = Fernet.generate_key().decode()
    run("token", "--store", "file", **file_store)
    run("token", "--store", "file", **file_store)
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    rows = rows_of(run("store", "show", **file_store))

    assert sandbox.counters.exchanges == 1
    assert (rows["encryption"], rows["token"]) == ("on", "fresh")
    assert kept.startswith(b"gAAAA")
    assert not [secret for secret in secrets_of(sandbox) if secret.encode() in kept]


@pytest.mark.parametrize("separator", [",", " , ", "\n"])
def test_keys_are_rotated(
    run: Run, sandbox: Sandbox, file_store: dict[str, str], tmp_path: Path, separator: str
) -> None:
    """Any of several keys decrypts the record, and the first one encrypts it; they may be in a file."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    keys = tmp_path / "keys"
    keys.write_text(f"{new}{separator}{old}\n", "utf-8")
    run("token", "--store", "file", TAXIZER_ENCRYPTION_KEY=old, **file_store)
    both = run("token", "--store", "file", TAXIZER_ENCRYPTION_KEY_FILE=str(keys), **file_store)

    assert (both.returncode, both.stderr) == (0, "")
    assert sandbox.counters.exchanges == 1

    run("store", "clear", TAXIZER_ENCRYPTION_KEY_FILE=str(keys), **file_store)
    run("token", "--store", "file", TAXIZER_ENCRYPTION_KEY_FILE=str(keys), **file_store)
    read = [
        run("store", "show", TAXIZER_ENCRYPTION_KEY=key, **file_store).returncode
        for key in (new, old)
    ]

    assert read == [0, 3]


def test_another_key(run: Run, sandbox: Sandbox, file_store: dict[str, str]) -> None:
    """A record that can't be read is an error of `store show`; `token` warns, and logs in."""
    run("token", "--store", "file", **file_store)
    file_store["TAXIZER_ENCRYPTION_KEY"] = Fernet.generate_key().decode()
    shown = run("store", "show", **file_store)
    done = run("token", "--store", "file", **file_store)

    assert (shown.returncode, shown.stdout) == (3, "")
    assert shown.stderr.startswith("error: the store can't be read (load: the record is not encr")
    assert (done.returncode, done.stdout) == (0, f"{sandbox.issued_jwts[1]}\n")
    assert done.stderr.startswith(
        "warning: token store failed in load: the record is not encrypted"
    )
    for stderr in (shown.stderr, done.stderr):
        assert stderr.count("\n") == 1
        assert not [
            secret
            for secret in (*secrets_of(sandbox), file_store["TAXIZER_ENCRYPTION_KEY"])
            if secret in stderr
        ]


@pytest.mark.parametrize("command", [["store", "show"], ["store", "clear"]])
def test_a_store_that_is_not_private(
    run: Run, file_store: dict[str, str], folder: Path, command: list[str]
) -> None:
    """A directory that other users can write to is an error of the `store` commands."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    error = error_of(run(*command, **file_store), 3)

    assert error.startswith("error: the store c")
    assert "can be written to by others" in error


@pytest.mark.parametrize(
    ("command", "code", "begins"),
    [
        pytest.param(["token"], 0, "warning: token store failed in load: ", id="token"),
        pytest.param(["store", "show"], 3, "error: the store can't be read (load: ", id="show"),
        pytest.param(["store", "clear"], 3, "error: the store could not drop the ", id="clear"),
    ],
)
def test_redis_is_down(
    run: Run, account: dict[str, str], tmp_path: Path, command: list[str], code: int, begins: str
) -> None:
    """Without its Redis `token` warns and logs in; the `store` commands fail, in one line."""
    with RedisServer(tmp_path) as server:
        account["TAXIZER_REDIS_URL"] = url_of(server)
    done = run(*command, "--store", "redis", **account)

    assert done.returncode == code
    assert done.stderr.startswith(begins)
    assert done.stderr.count("\n") == 1
    assert REDIS_CANARY not in done.stdout + done.stderr


def test_exit_codes_with_a_store(sandbox: Sandbox, run: Run, file_store: dict[str, str]) -> None:
    """With a store, wrong credentials are still exit code 1, and an outage is 3."""
    sandbox.fail("connect", Fault.status(404))
    error_of(run_impatiently("token", "--store", "file", env=file_store), 3)
    sandbox.heal()
    sandbox.change_secret("another")
    # The store remembers an outage for a moment.
    assert run("store", "clear", "--store", "file", **file_store).returncode == 0
    error_of(run_impatiently("token", "--store", "file", env=file_store), 1)


@pytest.mark.parametrize(
    ("args", "env", "named"),
    [
        pytest.param(["token", "--store", "redis"], {}, "TAXIZER_REDIS_URL", id="no-url"),
        pytest.param(
            ["token", "--store", "redis"],
            {"TAXIZER_REDIS_URL": f"http://:{REDIS_CANARY}@host"},
            "redis://host",
            id="bad-url",
        ),
        pytest.param(
            ["token", "--store", "file", "--redis-url", f"redis://:{REDIS_CANARY}@host"],
            {},
            "--redis-url is for --store redis",
            id="url-without-redis",
        ),
        pytest.param(
            ["token", "--store-path", "here"], {}, "is for --store file", id="path-without-file"
        ),
        pytest.param(["store", "show"], {"TAXIZER_CLIENT_ID": ""}, "TAXIZER_CLIENT_ID", id="no-id"),
        pytest.param(["store", "show", "--store", "memory"], {}, "'file', 'redis'", id="memory"),
        pytest.param(["store", "drop"], {}, "drop", id="no-such-command"),
        pytest.param(
            ["store", "show", "--base-url", "http://example.com"], {}, "https", id="not-https"
        ),
        pytest.param(["store", "show", "--store-path", ""], {}, "path", id="empty-path"),
        pytest.param(
            ["token", "--store", "file"],
            {"TAXIZER_ENCRYPTION_KEY": CLIENT_CANARY},
            "must be one or more Fernet keys",
            id="bad-key",
        ),
        pytest.param(
            ["token", "--store", "file"], {"TAXIZER_ENCRYPTION_KEY": ""}, "no key", id="empty-key"
        ),
        pytest.param(
            ["token", "--store", "file"], {"TAXIZER_ENCRYPTION_KEY": " , "}, "no key", id="no-keys"
        ),
        pytest.param(
            ["token", "--store", "file"],
            {"TAXIZER_ENCRYPTION_KEY_FILE": f"/{CLIENT_CANARY}"},
            "TAXIZER_ENCRYPTION_KEY_FILE",
            id="no-key-file",
        ),
    ],
)
def test_wrong_usage(
    run: Run, file_store: dict[str, str], args: list[str], env: dict[str, str], named: str
) -> None:
    """Wrong usage is one line on stderr without a secret, and exit code 2."""
    assert named in error_of(run(*args, **file_store | env))


def test_what_is_for_another_store_is_ignored_in_the_environment(
    run: Run, account: dict[str, str]
) -> None:
    """Variables may be set for other runs: only the store in use reads its own."""
    env = {"TAXIZER_REDIS_URL": "nonsense", "TAXIZER_STORE_PATH": "", "TAXIZER_ENCRYPTION_KEY": ""}
    done = run("token", **account, **env)

    assert (done.returncode, done.stderr) == (0, "")


def test_no_home(account: dict[str, str]) -> None:
    """Without a home directory, as in some containers, the error asks for a directory."""
    # The user database may have one when the environment has none.
    code = (
        "import pwd, sys\n"
        "def getpwuid(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = getpwuid\n"
        "from taxizer_async.__main__ import main; sys.exit(main())"
    )
    env = account | {"XDG_STATE_HOME": "", "HOME": "nowhere"}

    assert "TAXIZER_STORE_PATH" in error_of(run_python("-c", code, "store", "show", env=env))


@pytest.mark.parametrize(
    ("module", "args", "extra"),
    [
        ("filelock", ["token", "--store", "file"], "file"),
        ("filelock", ["demo", "--workers", "2", "--store", "file"], "file"),
        ("redis", ["token", "--store", "redis", "--redis-url", "redis://127.0.0.1"], "redis"),
        ("redis", ["demo", "--workers", "2", "--store", "redis"], "redis"),
        ("cryptography", ["token", "--store", "file"], "encryption"),
    ],
)
def test_missing_extra(
    account: dict[str, str], tmp_path: Path, module: str, args: list[str], extra: str
) -> None:
    """Without its extra a store is a usage error that says how to install it."""
    key = {"TAXIZER_ENCRYPTION_KEY": Fernet.generate_key().decode()}
    env = account | {"XDG_STATE_HOME": str(tmp_path)} | (key if extra == "encryption" else {})
    error = error_of(run_without(module, *args, env=env))

    assert f'pip install "taxizer-async[{extra}]"' in error


def test_store_alone(run: Run) -> None:
    """`store` without a command prints its help and exits as for wrong usage."""
    done = run("store")

    assert done.returncode == 2
    assert "show" in done.stdout
    assert "clear" in done.stdout


@pytest.mark.parametrize("command", [["token"], ["whoami"], ["store", "show"], ["store", "clear"]])
def test_help(run: Run, command: list[str]) -> None:
    """`--help` says where a file store is, names the variables, and shows none of their values."""
    secret = f"redis://:{REDIS_CANARY}@host"
    env = {"TAXIZER_REDIS_URL": secret, "TAXIZER_ENCRYPTION_KEY": CLIENT_CANARY, "COLUMNS": "200"}
    done = run(*command, "--help", **env)

    assert done.returncode == 0
    for word in ("XDG_STATE_HOME", ".local/state", *env.keys() - {"COLUMNS"}):
        assert word in done.stdout
    assert "canary" not in done.stdout
