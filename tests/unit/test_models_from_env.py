from __future__ import annotations

import os

from collections.abc import Callable
from pathlib import Path

import pytest

from taxizer_async import ConfigurationError, Credentials


ID = "TAXIZER_CLIENT_ID"
SECRET = "TAXIZER_CLIENT_SECRET"


@pytest.fixture(name="put")
def _put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Write a file and name it in a variable's `_FILE` variant."""

    def put(variable: str, content: bytes) -> Path:
        file = tmp_path / variable
        file.write_bytes(content)
        monkeypatch.setenv(f"{variable}_FILE", str(file))
        return file

    return put


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\r", "\n\n"], ids=repr)
def test_variables(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """The two variables are read, without trailing newlines."""
    monkeypatch.setenv(ID, f"app{ending}")
    monkeypatch.setenv(SECRET, f"s3cret{ending}")

    assert Credentials.from_env() == Credentials("app", "s3cret")


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\r", b"\n\n"], ids=repr)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no BOM", "BOM"])
def test_files(put: Callable[[str, bytes], Path], mark: bytes, ending: bytes) -> None:
    """The two files are read, without byte order mark and trailing newlines."""
    put(ID, mark + b"app" + ending)
    put(SECRET, mark + "s3crét".encode() + ending)

    assert Credentials.from_env() == Credentials("app", "s3crét")


def test_one_of_each(monkeypatch: pytest.MonkeyPatch, put: Callable[[str, bytes], Path]) -> None:
    """One part may come from a variable and the other from a file."""
    monkeypatch.setenv(ID, "app")
    put(SECRET, b"s3cret")

    assert Credentials.from_env() == Credentials("app", "s3cret")


def test_inner_blanks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks other than trailing newlines belong to the value."""
    monkeypatch.setenv(ID, " app ")
    monkeypatch.setenv(SECRET, "s3\ncret ")

    assert Credentials.from_env() == Credentials(" app ", "s3\ncret ")


@pytest.mark.parametrize("name", [ID, SECRET])
@pytest.mark.parametrize("empty", [None, ""], ids=["missing", "empty"])
def test_missing(monkeypatch: pytest.MonkeyPatch, name: str, empty: str | None) -> None:
    """A variable that is missing or empty is named, with its variant."""
    monkeypatch.setenv(ID, "app")
    monkeypatch.setenv(SECRET, "s3cret")
    if empty is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, empty)

    with pytest.raises(ConfigurationError, match=rf"^{name} is not set \(nor is {name}_FILE\)"):
        Credentials.from_env()


@pytest.mark.parametrize("name", [ID, SECRET])
def test_both(
    monkeypatch: pytest.MonkeyPatch, put: Callable[[str, bytes], Path], name: str
) -> None:
    """A part that is set both ways is ambiguous, and refused."""
    monkeypatch.setenv(ID, "app")
    monkeypatch.setenv(SECRET, "s3cret")
    put(name, b"other")

    with pytest.raises(ConfigurationError, match=f"^both {name} and {name}_FILE are set"):
        Credentials.from_env()


def test_an_empty_variable_leaves_it_to_the_file(
    monkeypatch: pytest.MonkeyPatch, put: Callable[[str, bytes], Path]
) -> None:
    """An empty variable, as compose files leave them, does not compete with a file."""
    monkeypatch.setenv(ID, "app")
    monkeypatch.setenv(SECRET, "")
    put(SECRET, b"s3cret")

    assert Credentials.from_env() == Credentials("app", "s3cret")


@pytest.mark.parametrize("name", ["client_id", "client_secret"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf\r\n", b"  "], ids=repr)
def test_an_empty_file(put: Callable[[str, bytes], Path], name: str, content: bytes) -> None:
    """An empty file is refused."""
    put(ID, b"app")
    put(SECRET, b"s3cret")
    put(f"TAXIZER_{name.upper()}", content)

    with pytest.raises(ConfigurationError, match=f"^{name} is empty"):
        Credentials.from_env()


def _make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("name", [ID, SECRET])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(Path.unlink, "FileNotFoundError", id="no file"),
        pytest.param(
            lambda f: f.unlink() or f.mkdir(), "IsADirectoryError|PermissionError", id="a directory"
        ),
        pytest.param(
            lambda f: f.write_bytes("c4n4ry-5ecret".encode("utf-16")),
            "UnicodeDecodeError",
            id="not UTF-8",
        ),
        pytest.param(_make_pipe, "not a regular file", id="a pipe without a writer"),
        pytest.param(
            lambda f: f.unlink() or f.symlink_to("/dev/zero"), "not a regular file", id="a device"
        ),
        pytest.param(lambda f: f.write_bytes(b"x" * 65_537), "more than 65,536 bytes", id="huge"),
    ],
)
def test_an_unreadable_file(
    put: Callable[[str, bytes], Path],
    name: str,
    spoil: Callable[[Path], object],
    why: str,
    leaks: Callable[[BaseException], list[str]],
) -> None:
    """A file that can't be read is named, with the reason and without its content."""
    put(ID, b"app")
    put(SECRET, b"s3cret")
    spoil(put(name, b"c4n4ry-5ecret"))

    with pytest.raises(
        ConfigurationError, match=rf"^{name}_FILE does not name .*\(({why})\)"
    ) as caught:
        Credentials.from_env()

    assert caught.value.__context__ is None
    assert leaks(caught.value) == []
