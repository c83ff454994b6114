"""Every link of the pages leads somewhere, and every path that they name is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE, ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for folder in (ROOT, DOCS, ROOT / "custom_ops", ROOT / "mobile_demo", ROOT / "training")
    for page in folder.glob("*.md")
)
BASES = (ROOT, PACKAGE, ROOT / "custom_ops")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[str, str, str]]:
    """The words, target and anchor of each link that stays in the repository."""
    for words, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield words, path, anchor


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    found = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    for words, target, anchor in links(page):
        place = (page.parent / target).resolve() if target else page
        assert place.is_relative_to(ROOT), target
        assert place.exists(), f"[{words}]({target})"
        if anchor:
            assert anchor in anchors(place), f"{target}#{anchor}"


def defined(source: Path) -> set[str]:
    """The names that a Python file defines, at the top or in a class."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pages
def test_a_name_that_links_to_a_file_is_defined_there(page: Path) -> None:
    for words, target, _ in links(page):
        name = re.fullmatch(r"`(?:\w+\.)*(\w+)`", words)
        if name and target.endswith(".py") and f"{name[1]}.py" != Path(target).name:
            assert name[1] in defined((page.parent / target).resolve()), words


@pages
def test_every_path_is_there(page: Path) -> None:
    """A path is named from the repository, the package, custom_ops or the page's own folder."""
    for path in re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*/?)`", prose(page)):
        if "/" not in path:
            continue
        first = path.partition("/")[0]
        if first in ("build", "dist"):  # what make leaves, where it has run
            continue
        known = [base for base in (*BASES, page.parent) if (base / first).is_dir()]
        if known and not (first.startswith(".") and first != ".github"):
            assert any(any(base.glob(path.rstrip("/"))) for base in known), path


def test_the_rooms_are_those_of_the_package() -> None:
    """The table of architecture.md names the rooms of tests/test_layering.py, in that order."""
    listing = re.search(
        r'^ROOMS = """\n(.*?)"""',
        (ROOT / "tests/test_layering.py").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert listing is not None
    rooms = re.findall(r"^(\w+):", listing[1], re.MULTILINE)
    named = re.findall(
        r"^\| \[`(\w+)/`\]\(\.\./bitnet_onnx/\1/\) \|",
        (DOCS / "architecture.md").read_text(),
        re.MULTILINE,
    )
    assert rooms
    assert named == rooms


def test_every_page_is_listed() -> None:
    listed = {target for _, target, _ in links(DOCS / "index.md")}
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= listed


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
