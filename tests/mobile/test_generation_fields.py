"""Each option of Python is obeyed by the engines of the devices, or refused by its name."""

from __future__ import annotations

import re

import pytest

from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.fields import REFUSED
from tests.support.paths import ROOT

SOURCES = (
    "mobile_demo/engine/src/run/generation_config.cc",
    "mobile_demo/web/engine/src/model/generation-config.ts",
)
# A seed is an option of a call there; scores that are normalized, and drafts, give the same tokens;
# some options act only on beams, which are refused.
WITHOUT_EFFECT = {
    "length_penalty", "early_stopping", "diversity_penalty", "pad_token_id",
    "seed", "renormalize_logits", "prompt_lookup_num_tokens", "max_matching_ngram_size",
    "num_assistant_tokens_schedule", "assistant_ensemble_weight", "num_assistant_tokens",
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind",
    "target_lookbehind",
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_no_option_is_ignored(source: str) -> None:
    named = set(re.findall(r"[a-z]\w+", (ROOT / source).read_text("utf-8")))
    options = GenerationConfig.__dataclass_fields__.keys() | REFUSED.keys()
    assert options - named <= WITHOUT_EFFECT
