"""The exit codes of the command line."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a run of the program reports to its shell."""

    OK = 0
    #: The credentials were refused, `store show` found no record, or the demo failed.
    FAILED = 1
    #: Wrong usage or configuration.
    USAGE = 2
    #: No token could be had, or a `store` command could not use the store.
    UNAVAILABLE = 3
    #: What shells report of a program that SIGINT ended.
    INTERRUPTED = 130
