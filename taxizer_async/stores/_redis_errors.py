"""
What the error of a Redis client says, without its text, which may quote what was to be saved.

Errors are recognised by their names, so that neither redis nor valkey is imported here.
"""

from __future__ import annotations

import re

from typing import Final


#: Clients take these codes out of the text, and make such an error of it.
_CODES: Final = {
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "NoScriptError": "NOSCRIPT",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
    "ClusterDownError": "CLUSTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
    "MasterDownError": "MASTERDOWN",
    "AuthenticationError": "WRONGPASS",
}
_CODE: Final = re.compile("[A-Z]{2,20}")
#: How a server before Redis 7 tells what a command in a script was answered.
_IN_SCRIPT: Final = re.compile(
    r"(?:ERR )?Error running script \(call to f_[0-9a-f]{40}\): @user_script:\d+: "
    r"(?:@user_script: \d+: )?(?:-?([A-Z]{2,20}) |(The user executing the script can't ))"
)
#: How Redis 7.0, and how later ones tell that the user may not run a command in a script.
_DENIED_IN_SCRIPT: Final = re.compile(
    "(?:ERR )?(?:The user executing the script can't |ACL failure in script: )"
)
#: What to do about a code.
_ADVICE: Final = {
    "NOPERM": (
        "the user lacks a right: it needs +eval +get +set +del +pttl +pexpire on ~{keys}, and +select for "
        "another database than 0"
    ),
    "WRONGPASS": "the user name or the password is wrong",
    "NOAUTH": "it wants a user name and a password",
    "OOM": "its memory is full: raise maxmemory, or set a maxmemory-policy that evicts keys",
    "READONLY": "it is a replica, which can't be written to: connect to the primary",
    "MOVED": "it is a node of a cluster: make the store of a RedisCluster client",
    "CLUSTERDOWN": "a part of the cluster is down",
    "LOADING": "it is loading its data: try again later",
    "MISCONF": "it can't save to its disk, and takes no writes until it can",
    "WRONGTYPE": "another program has put something into a key of ours: remove it, or choose a prefix",
    "ERR": "it refused a command: see its log, and whether the database exists",
}
#: With these begins the text of errors whose code, which was taken out, is ERR.
_NO_CODES: Final = frozenset({"DB", "SELECT"})


def error_code(error: BaseException) -> str | None:
    """Return the code of the server's answer (`NOPERM`, `OOM`, else `ERR`); None if it gave none."""
    kinds = [each.__name__ for each in type(error).__mro__]
    text = str(error)
    if "AuthenticationError" in kinds and text.startswith(("Authentication required", "HELLO ")):
        return "NOAUTH"
    for kind in kinds:
        if kind in _CODES:
            return _CODES[kind]
    if "ResponseError" not in kinds:
        # A cluster's client has the answer as the cause of its own error.
        return None if error.__cause__ is None else error_code(error.__cause__)
    found = _IN_SCRIPT.match(text)
    if found is not None:
        return found[1] or "NOPERM"
    if _DENIED_IN_SCRIPT.match(text):
        return "NOPERM"
    first = text.partition(" ")[0]
    return first if _CODE.fullmatch(first) and first not in _NO_CODES else "ERR"


def is_pool_empty(error: Exception) -> bool:
    """Return whether a client's pool had no connection left; redis-py 5.0 has no class of its own for that."""
    return type(error).__name__ == "MaxConnectionsError" or str(error) == "Too many connections"


def explain(error: Exception, keys: str) -> str:
    """
    Say what is wrong with a Redis, and what to do.

    Args:
        error: What the client raised.
        keys: The pattern of the store's keys.
    """
    kind, code = type(error).__name__, error_code(error)
    if code is None:
        return f"Redis can't be reached ({kind}): is it up, and are host, port and TLS right?"
    advice = _ADVICE.get(code, "it refused a command: see its documentation for the code")
    return f"Redis can't be used ({code}): {advice.format(keys=keys)}"
