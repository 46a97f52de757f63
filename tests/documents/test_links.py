"""The links between pages lead somewhere."""

from __future__ import annotations

import os
import re
import tomllib

from pathlib import Path
from typing import Final

import pytest

from tests.documents.pages import NAMES, ROOT, text_of


_LINK: Final = re.compile(r"!?\[[^\]]*\]\((?!https?:|mailto:)([^)\s]*)\)")
_CODE: Final = re.compile(r"^( *)```.*?^\1```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_SCHEMES: Final = {"only-light", "only-dark"}
_HEADING: Final = re.compile(r"^#+ (.*?)(?: \{#([\w-]+)\})?$", re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    text = re.sub(
        r"^( *)```.*?^\1```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return {
        given or re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.strip().lower()))
        for title, given in _HEADING.findall(text)
    }


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Each link names a file of the repository, and a heading that it has."""
    for target in _LINK.findall(_CODE.sub("", text_of(name))):
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        # A picture for light or for dark pages only is marked as such.
        known = _SCHEMES if page.suffix == ".png" else anchor and _anchors(page)
        assert not anchor or anchor in known, target


def test_every_page_is_in_the_navigation() -> None:
    """Each page of the documentation has its place in `mkdocs.yml`."""
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    docs = ROOT / "docs"

    for page in docs.rglob("*.md"):
        assert f" {page.relative_to(docs)}\n" in navigation


def test_every_page_is_in_the_list_for_language_models() -> None:
    """`llms.txt` has each page with its title and its description."""
    told = (ROOT / "docs" / "llms.txt").read_text("utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nmarkdown_extensions:")[0]
    for title, page in re.findall(r"^ +- ([^:]+): (\S+)\.md$", navigation, re.MULTILINE):
        text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
        described = re.match(r"---\ndescription: (.+)\n---\n", text)
        line = f"- [{title}]({page}/): {described[1] if described else ''}"

        assert page == "index" or line in told


def test_a_page_of_the_documentation_links_to_pages_only() -> None:
    """The site has no other part of the repository, so a link to one would be broken there."""
    docs = ROOT / "docs"
    for name in NAMES:
        if not name.startswith("docs/"):
            continue
        for target in _LINK.findall(_CODE.sub("", text_of(name))):
            path = os.path.normpath((ROOT / name).parent / target.partition("#")[0])
            assert Path(path).is_relative_to(docs), f"{name}: {target}"


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_a_file_that_is_also_a_page_has_no_link_to_another(name: str) -> None:
    """The links of both places differ."""
    assert _LINK.findall(_CODE.sub("", (ROOT / name).read_text("utf-8"))) == []


def test_an_index_page_has_no_link_to_a_file() -> None:
    """What the wheel says of itself is the README without the links that lead into the repository."""
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["metadata"]
    text = text_of("README.md")
    for rule in hooks["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)

    assert _LINK.findall(text) == []
    assert "the tutorial does the same" in text.lower()
