"""What a GGUF file says about a network that embeds texts.

Knows the names of microsoft/BitNet's converter and llama.cpp's numbers of pooling types.
"""

from __future__ import annotations

from ...errors import ConfigError
from ...network.body import Body
from ...network.config import BitNetConfig
from ...network.pooling import POOLINGS, Pooling
from .container import GgufFile

__all__ = ["POOLING_KEY", "body_of", "number_of", "pooling_of", "refuse_another_window"]

NORM = "blk.0.attn_q_norm_in.weight"
POOLING_KEY, WINDOW_KEY = "pooling_type", "attention.sliding_window"
TYPES = {0: "none", 1: "mean", 2: "cls", 3: "last"}  # LLAMA_POOLING_TYPE_*
RANK = 4
ASSUMED = (
    "no pooling_type says how tokens become one vector: the last one is taken; --pooling mean "
    "takes the mean"
)


def body_of(file: GgufFile) -> Body:
    """Return what the tensors show; a ternary type holds its own scale."""
    norms = NORM in file.tensors
    return Body(bare=False, embedding_norms=norms, norms=norms, scales=True)


def pooling_of(file: GgufFile, architecture: str) -> Pooling:
    """Return the pooling of the metadata; vectors are normalized, as llama.cpp does by default.

    Raises CheckpointError for a type that is not understood, and for a network that ranks texts.
    """
    key = f"{architecture}.{POOLING_KEY}"
    found = file.scalar(key)
    if found is None:
        return Pooling("last", note=ASSUMED)
    expected = "expected 1 (mean) or 3 (last)"
    if found == RANK:
        file.refuse(key, f"is 4 (rank), {expected}: a network that ranks texts has a head")
    if type(found) is not int or found not in TYPES:
        file.refuse(key, f"is {found!r}, {expected}")
    mode = TYPES[found]
    if mode not in POOLINGS:
        return Pooling(mode, refusal=f"{file.path}: {key} is {found} ({mode}), {expected}")
    return Pooling(mode)


def number_of(pooling: Pooling) -> int:
    """Return the number of a type; raise ConfigError where vectors keep their length.

    The metadata cannot say that they do.
    """
    if not pooling.normalize:
        raise ConfigError(
            "vectors of this network are not normalized, expected a Normalize in modules.json: "
            "GGUF cannot say that they are not"
        )
    return next(number for number, mode in TYPES.items() if mode == pooling.mode)


def refuse_another_window(file: GgufFile, architecture: str, config: BitNetConfig) -> None:
    """Refuse a window that differs from that of the config.json beside the file."""
    key = f"{architecture}.{WINDOW_KEY}"
    found = file.scalar(key)
    if config.gemma is not None and found not in (None, config.gemma.sliding_window):
        file.refuse(
            key,
            f"is {found!r}, but sliding_window is {config.gemma.sliding_window} in the config.json "
            "beside the file",
        )
