"""docs/checkpoints.md lists exactly the tolerated keys and the families that are refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from bitnet_onnx.network.key_lists import CONFIG_KEYS, EXPERT_KEYS, FAMILIES, GGUF_KEYS, Tolerated
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "checkpoints.md"
HEADS = {
    "config": "| keys of `config.json` | tolerated at | reason |",
    "experts": "| keys of a network with experts | tolerated at | reason |",
    "gguf": "| GGUF keys | tolerated at | reason |",
    "families": "| refused | names with | words |",
}


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def tolerated(rows: Iterable[Tolerated]) -> Iterator[str]:
    for row in rows:
        values = (
            "any value" if row.values is None else code(map(json.dumps, row.values)) or "`null`"
        )
        yield f"| {code(row.names.split())} | {values} | {row.reason} |"


def expected() -> dict[str, list[str]]:
    families = (
        f"| {family.title} | {code(family.inside.split())} | {code(family.words.split())} |"
        for family in FAMILIES
    )
    return {
        "config": list(tolerated(CONFIG_KEYS)),
        "experts": list(tolerated(EXPERT_KEYS)),
        "gguf": list(tolerated(GGUF_KEYS)),
        "families": list(families),
    }


def table(head: str) -> list[str]:
    """Return the rows below a table's head."""
    lines = PAGE.read_text("utf-8").splitlines()
    below = lines[lines.index(head) + 2 :]
    end = next((i for i, line in enumerate(below) if not line.startswith("|")), len(below))
    return below[:end]


def test_the_page_and_the_lists_are_equal() -> None:
    for name, rows in expected().items():
        assert table(HEADS[name]) == rows, name
