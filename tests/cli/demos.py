"""Demos as real processes, and what they print."""

from __future__ import annotations

import re
import subprocess
import sys

import attrs

from .conftest import clean_environment


@attrs.frozen
class Ran:
    code: int
    stdout: str
    stderr: str = ""

    @property
    def table(self) -> dict[str, str]:
        return dict(re.findall(r"│ (.+?) +│ +(.+?) │", self.stdout))

    @property
    def workers(self) -> list[list[int]]:
        """The counts of each worker: requests, failures, logins, renewals, adoptions."""
        rows = re.findall(r"^│ +(\d+ (?:│ +[\d,]+ ){5})│$", self.stdout, re.MULTILINE)
        return [[int(cell.replace(",", "")) for cell in row.split("│")[1:]] for row in rows]

    def lines(self, subject: str) -> list[str]:
        return re.findall(rf"^ *[\d.]+ s  {subject} +(.+)$", self.stdout, re.MULTILINE)


def start(*args: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *args],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
