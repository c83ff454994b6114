"""The tables of docs/generation.md, and how a test asks for each method and each cache in them."""

from __future__ import annotations

import re
from typing import Any

from tests.support.paths import ROOT

__all__ = ["CACHES", "METHODS", "SAVED", "STRUCTURED", "options_of", "table"]

SAVED = "saved in a file"
PAGE = ROOT / "docs" / "generation.md"
DRAFTS = {"num_assistant_tokens_schedule": "constant"}  # else, time decides whether there are some
DRAWN = {"do_sample": True, "seed": 3, "top_k": 20}
BEAMS = {"num_beams": 3, "num_return_sequences": 2}
STRUCTURED = {"regex": "[a-c]{2}(x|[0-9]{3})+"}
# By the names in the table; "assistant_model" and "structured_outputs" are filled in by the test.
METHODS: dict[str, dict[str, Any]] = {
    "greedy decoding": {},
    "sampling": DRAWN,
    "several samples": {**DRAWN, "num_return_sequences": 3},
    "guidance": {"guidance_scale": 1.5, "negative_prompt_ids": [9, 8, 7]},
    "beam search": BEAMS,
    "beam sampling": {**BEAMS, **DRAWN},
    "diverse (group) beam search": {
        "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "num_return_sequences": 2,
    },
    "beam search with forced words": {**BEAMS, "force_words_ids": [[11], [4, 5]]},
    "prompt lookup": {"prompt_lookup_num_tokens": 4, "max_matching_ngram_size": 2, **DRAFTS},
    "assisted decoding": {"assistant_model": True, "num_assistant_tokens": 3, **DRAFTS},
    "early exit": {"assistant_early_exit": 1, "num_assistant_tokens": 3, **DRAFTS},
    "structured output": {"structured_outputs": STRUCTURED},
    "contrastive search": {"penalty_alpha": 0.6, "top_k": 4},
    "DoLa": {"dola_layers": "low"},
}  # fmt: skip
# The kinds of Session; None where the cache is of an artifact, or of a file.
CACHES: dict[str, str | None] = {
    **{kind: kind for kind in ("dynamic", "static", "offloaded", "offloaded_static")},
    **{kind: kind for kind in ("sliding_window", "sink")},
    **dict.fromkeys((SAVED, "float16", "int8", "int4")),
}


def table(first: str) -> dict[str, list[str]]:
    """Return the cells of a table's rows by each of the names in the first one.

    What follows a colon there, or names of options, says more about the name before it.
    """
    lines = PAGE.read_text("utf-8").split(f"| {first} |", 1)[1].splitlines()[2:]
    rows = dict[str, list[str]]()
    for line in lines:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        name = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", name).partition(":")[0]
        rows |= dict.fromkeys((each for each in name.split(", ") if "`" not in each), cells)
    return rows


def options_of(cell: str) -> set[str]:
    """Return the options that the cell of a method names."""
    return set(re.findall(r"`(\w+)`", cell))
