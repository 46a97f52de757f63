"""The exit codes of the command line."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a run of the program reports to its shell."""

    OK = 0
    #: The credentials or a token were refused, `store show` found no record, or the demo failed.
    FAILED = 1
    #: Wrong usage or configuration.
    USAGE = 2
    #: No token could be had, a store could not be used, or `doctor` could not reach something.
    UNAVAILABLE = 3
    #: What the command had to say could not be written to stdout.
    UNWRITABLE = 4
    #: What shells report of a program that SIGINT ended.
    INTERRUPTED = 130
