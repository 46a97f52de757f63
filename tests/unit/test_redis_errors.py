from __future__ import annotations

import pytest
import redis

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
)

from taxizer_async.stores._redis_errors import error_code


SCRIPT = f"Error running script (call to f_{40 * 'a'}): @user_script:2: @user_script: 2: "

ERRORS: dict[str, tuple[Exception, str | None]] = {
    "a right": (
        NoPermissionError("this user has no permissions to run the 'eval' command"),
        "NOPERM",
    ),
    "a right in a script of Redis 6": (
        redis.ResponseError(f"{SCRIPT}The user executing the script can't run this command"),
        "NOPERM",
    ),
    "a right in a script of Redis 7.0": (
        redis.ResponseError("The user executing the script can't run this command or subcommand"),
        "NOPERM",
    ),
    "a right in a script of later ones": (
        redis.ResponseError("ACL failure in script: User till has no permissions to run 'set'"),
        "NOPERM",
    ),
    "memory": (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "OOM"),
    "memory in a script": (
        redis.ResponseError(f"{SCRIPT}-OOM command not allowed when used memory > 'maxmemory'."),
        "OOM",
    ),
    "another's key in a script": (
        redis.ResponseError(
            f"{SCRIPT.removesuffix('@user_script: 2: ')}WRONGTYPE Operation against a key"
        ),
        "WRONGTYPE",
    ),
    "a replica": (ReadOnlyError("You can't write against a read only replica."), "READONLY"),
    "a replica in a script": (
        redis.ResponseError(f"ERR {SCRIPT}-READONLY You can't write against a read only replica."),
        "READONLY",
    ),
    "a cluster's node": (redis.ResponseError("MOVED 3999 127.0.0.1:6381"), "MOVED"),
    "the same to a cluster's client": (MovedError("3999 127.0.0.1:6381"), "MOVED"),
    "a cluster that can't be asked": (RedisClusterException("no node"), "NOPERM"),
    "a password": (AuthenticationError("invalid username-password pair"), "WRONGPASS"),
    "no password": (AuthenticationError("Authentication required."), "NOAUTH"),
    "no password with RESP3": (AuthenticationError("HELLO must be called with AUTH"), "NOAUTH"),
    "loading": (BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
    "a disk": (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
    "a database": (redis.ResponseError("DB index is out of range"), "ERR"),
    "a database of a cluster": (
        redis.ResponseError("SELECT is not allowed in cluster mode"),
        "ERR",
    ),
    "a command": (redis.ResponseError("unknown command `EVAL`"), "ERR"),
    "a value in the place of a code": (redis.ResponseError("c4n4ry-5ecret"), "ERR"),
    "a value behind a code": (redis.ResponseError("MISCONF-c4n4ry-5ecret"), "ERR"),
    "an error of a script's own": (
        redis.ResponseError(f"{SCRIPT}attempt to index c4n4ry-5ecret -OOM "),
        "ERR",
    ),
    "no answer": (redis.ConnectionError("OOM c4n4ry-5ecret"), None),
    "another library's": (ValueError("OOM c4n4ry-5ecret"), None),
}
ERRORS["a cluster that can't be asked"][0].__cause__ = NoPermissionError("no right")


@pytest.mark.report(156)
@pytest.mark.parametrize("kind", ERRORS)
def test_the_servers_code_is_known(kind: str) -> None:
    """The code is what the server answered, be it in a script or not, and nothing else of the text."""
    error, code = ERRORS[kind]

    assert error_code(error) == code
