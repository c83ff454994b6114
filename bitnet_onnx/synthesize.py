"""Random-weight checkpoints of a published shape, for benchmarks and tests of the real size.

Knows presets and distributions. Speed and memory do not depend on the values; the values are
chosen so that the network behaves like one: activations of ordinary size everywhere.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .checkpoint import linear_shapes, norm_shapes, table_names, write_checkpoint
from .config import BitNetConfig
from .errors import ConfigError
from .files import new_folder

__all__ = ["PRESETS", "synthesize"]

PRESETS = {
    "2b-4t": {
        "vocab_size": 128256,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 30,
        "num_attention_heads": 20,
        "num_key_value_heads": 5,
        "max_position_embeddings": 4096,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128009],
    }
}
OUTPUTS = ("o_proj", "down_proj")  # what is added to the residual stream
DEPTH = 30  # layers that its scale is made for, also when fewer are asked for
INIT_STD = 0.02  # of the master weights that the scales pretend to come from
# Each byte of the published layout holds four codes 0..2: these are the 81 possible bytes.
BYTES = np.array([a | b << 2 | c << 4 | d << 6 for a, b, c, d in product(range(3), repeat=4)])


def synthesize(
    preset: str, output: str | Path, *, layers: int | None = None, seed: int = 0,
    progress: bool = False,
) -> Path:  # fmt: skip
    """Write a checkpoint in the published packed layout; the same seed gives the same bytes."""
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}, expected one of: {', '.join(PRESETS)}")
    quantization = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    }
    fields = {"model_type": "bitnet", **PRESETS[preset], "quantization_config": quantization}
    if layers is not None:
        fields["num_hidden_layers"] = layers
    config = BitNetConfig.from_dict(fields)
    with new_folder(Path(output)) as folder:
        write_checkpoint(folder, config, random_tensors(config, seed, progress))
        eos = {"bos_token_id": config.bos_token_id, "eos_token_id": list(config.eos_token_id)}
        (folder / "generation_config.json").write_text(json.dumps(eos, indent=2) + "\n")
    return Path(output)


def random_tensors(
    config: BitNetConfig, seed: int, progress: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the checkpoint, one at a time.

    Final norm weights have random signs: with a tied table the network would else do no more
    than repeat its last token. Output projections are scaled down by the square root of twice
    the depth, as GPT-2's are.
    """
    rng = np.random.default_rng(seed)
    linears, norms, tables = linear_shapes(config), norm_shapes(config), table_names(config)
    scale = torch.tensor([INIT_STD * math.sqrt(2 / math.pi)])
    total = len(linears) + len(norms) + len(tables)
    with tqdm(
        total=total, desc="random weights", unit="tensor", disable=not progress, file=sys.stderr
    ) as bar:
        for name in tables:
            shape = (config.vocab_size, config.hidden_size)
            yield name, normal(rng, shape)
            bar.update()
        for name, size in norms.items():
            weight = normal(rng, (size,)).float() * 0.1 + 1.0
            if name == "model.norm.weight":
                weight *= torch.from_numpy(rng.choice([-1.0, 1.0], size).astype(np.float32))
            yield name, weight.to(torch.bfloat16)
            bar.update()
        for name, (rows, features) in linears.items():
            codes = BYTES.astype(np.uint8)[rng.integers(0, 81, (rows // 4, features), np.uint8)]
            yield f"{name}.weight", torch.from_numpy(codes)
            depth = math.sqrt(2 * DEPTH) if name.endswith(OUTPUTS) else 1.0
            yield f"{name}.weight_scale", (scale / depth).to(torch.bfloat16)
            bar.update()


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers as bfloat16, made in slices so that memory stays small."""
    out = torch.empty(shape, dtype=torch.bfloat16).view(-1)
    for part in out.split(1 << 24):
        part.copy_(torch.from_numpy(rng.standard_normal(part.numel(), dtype=np.float32)))
    return out.view(shape)
