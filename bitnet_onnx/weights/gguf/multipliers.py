"""The numbers by which a network multiplies, in a GGUF file: those of Granite and of MiniCPM.

Knows llama.cpp's keys. MiniCPM's config.json says by what its residual branches and its logits are
divided in other words, so these two are computed.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from ...network.config import BitNetConfig
from ...network.records import Network
from .container import GgufFile

__all__ = ["complete_multipliers", "multiplier_keys", "shortest", "stored_multipliers"]

GRANITE = {  # 0 stands for one that is not given
    "embedding_multiplier": "embedding_scale",
    "attention_multiplier": "attention.scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}
MINICPM = {"scale_emb": "embedding_scale", "scale_depth": "residual_scale"}
MINICPM |= {"dim_model_base": "logit_scale"}
REQUIRED = {"logits_scaling", *MINICPM}
ROPE_IS_ON = "rope.scaling.finetuned"  # what it says in the files of Granite
DIGITS = 9  # of a float32


def multiplier_keys(network: Network) -> dict[str, str]:
    """Return the key of each multiplier that a network has, without its prefix."""
    return {name: key for name, key in (GRANITE | MINICPM).items() if name in network.scales}


def stored_multipliers(config: BitNetConfig) -> dict[str, float]:
    """Return the number that a file has under the key of each multiplier."""
    found = {name: float(getattr(config, name)) for name in config.record.scales if name in GRANITE}
    if config.dim_model_base is not None:
        found["scale_emb"] = config.scale_emb
        found["scale_depth"] = config.scale_depth / config.num_hidden_layers**0.5
        found["dim_model_base"] = config.hidden_size / config.dim_model_base
    return found


def complete_multipliers(
    file: GgufFile, architecture: str, network: Network, fields: dict[str, Any]
) -> None:
    """Turn a file's numbers into those of a config.json, and refuse a missing one.

    Without attention.scale llama.cpp divides by the square root of head_dim.
    """
    keys = {name: f"{architecture}.{key}" for name, key in multiplier_keys(network).items()}
    for name in REQUIRED & keys.keys() - fields.keys():
        hint = "put the config.json of the original checkpoint beside the file"
        file.refuse(keys[name], "is missing", hint=hint)
    if "scale_emb" in keys:
        _complete_minicpm(file, keys["dim_model_base"], fields)
    if "attention_multiplier" not in keys:
        return
    for name in keys.keys() - REQUIRED:
        if fields.get(name) == 0:
            del fields[name]
    if "attention_multiplier" not in fields:
        heads = fields["num_attention_heads"]
        head_dim = fields.get("head_dim") or (heads and fields["hidden_size"] // heads)
        fields["attention_multiplier"] = head_dim**-0.5 if head_dim else 1.0
    key = f"{architecture}.{ROPE_IS_ON}"
    if file.scalar(key) is False:
        file.refuse(
            key, "is False, expected True: a network without rotary positions is not supported"
        )


def _complete_minicpm(file: GgufFile, key: str, fields: dict[str, Any]) -> None:
    """Compute scale_depth and dim_model_base; what is no number is left to be refused."""
    layers, hidden = fields["num_hidden_layers"], fields["hidden_size"]
    residual, divisor = fields["scale_depth"], fields["dim_model_base"]
    if _positive(residual) and _positive(layers):
        fields["scale_depth"] = shortest(residual, layers**0.5)
    if _positive(divisor) and _positive(hidden):
        base = round(hidden / divisor)
        if base < 1 or np.float32(hidden / base) != np.float32(divisor):
            file.refuse(key, f"is {divisor!r}, expected hidden_size {hidden} divided by an integer")
        fields["dim_model_base"] = base


def _positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value > 0 and isfinite(value)


def shortest(quotient: float, divisor: float) -> float:
    """Return a number with few digits that gives the same float32 divided by ``divisor``."""
    product = quotient * divisor
    for digits in range(1, DIGITS):
        short = float(f"{product:.{digits}g}")
        if np.float32(short / divisor) == np.float32(quotient):
            return short
    return product
