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
    r"@user_script: \d+: (?:-([A-Z]{2,20}) |(The user executing the script can't ))"
)
#: How a later one tells that the user may not run a command in a script.
_DENIED_IN_SCRIPT: Final = re.compile("(?:ERR )?ACL failure in script: ")
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
        return None
    found = _IN_SCRIPT.match(text)
    if found is not None:
        return found[1] or "NOPERM"
    if _DENIED_IN_SCRIPT.match(text):
        return "NOPERM"
    first = text.partition(" ")[0]
    return first if _CODE.fullmatch(first) and first not in _NO_CODES else "ERR"
