"""The fields of generation_config.json that ``GenerationConfig`` does not have.

A field that cannot change an answer here is left out, with the reason. A field that can change it
is refused, unless its value turns it off. A field that transformers does not know either has no
effect there, so it is left out too, and named in a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["known", "refused", "unknown"]

# They describe the file or the checkpoint. bos is the tokenizer's matter.
_ABOUT = """
    _commit_hash _from_model_config bos_token_id decoder_start_token_id
    transformers_version
"""
# They say what is returned beside the ids.
_RETURNED = """
    output_attentions output_hidden_states output_logits output_scores return_dict_in_generate
"""
# They make the same ids with other memory or at another speed.
_SPEED = """
    cache_config compile_config continuous_batching_config disable_compile low_memory max_cache_len
    prefill_chunk_size use_cache
    is_assistant speculation_type use_mtp
"""
HARMLESS = frozenset(f"{_ABOUT} {_RETURNED} {_SPEED}".split())

# They change the answer and are not implemented; with these values they are off.
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "assistant_ensemble_weight": (),
    "constraints": (),
    "force_bos_token_to_be_generated": (False,),
    "negative_prompt": (),
    "negative_prompt_ids": (),
    "structured_outputs": (),
    "token_healing": (False,),
}  # fmt: skip


def known(name: str) -> bool:
    """Return whether transformers has a field of this name that ``GenerationConfig`` lacks."""
    return name in HARMLESS or name in REFUSED


def refused(values: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the first field and value that would change the answer, if there is one."""
    for name, off in REFUSED.items():
        value = values.get(name)
        if value is not None and value not in off:
            return name, value
    return None


def unknown(values: Mapping[str, Any], options: tuple[str, ...]) -> list[str]:
    """Return the fields that neither transformers nor this package knows."""
    return [name for name in values if name not in options and not known(name)]
