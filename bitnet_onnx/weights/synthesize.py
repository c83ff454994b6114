"""Checkpoints of random weights in a published shape, for benchmarks and tests of the real size.

Knows presets and distributions; knows no trained weights. Speed and memory depend on the values
only where zeros are skipped. The values give activations of ordinary size everywhere, and the
requested share of closed gates.

A share of the gates is closed as follows (``ffn_zeros``). The first few channels of the hidden
state are 1 in every row of the embedding, and no output projection adds to them. The gate rows have
code +1 there. So post_attention_layernorm's weight, the same on all these channels, moves every
gate by the same amount. The other codes are random, so the rest of a gate is normally distributed,
and the amount decides the share below 0. The closed gates differ from token to token.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import ConfigError
from ..files import new_folder, write_text
from ..network.config import BitNetConfig
from ..network.parts import ExpertLinear, Linear, parts_of
from .checkpoint.experts import written_scales
from .checkpoint.sentence import sentence_files
from .checkpoint.write import write_checkpoint
from .presets import PRESETS

__all__ = ["PRESETS", "synthesize"]

OUTPUTS = ("o_proj", "down_proj", "output_linear")  # they add to the residual stream
DEPTH = 30  # layers for which the outputs are scaled, also in a network of fewer
INIT_STD = 0.02  # of the imagined master weights, which give the scales
NORM_STD = 0.1  # of the norm weights, around 1
CONSTANT_SHARE = 32  # 1 channel in 32 is constant where ffn_zeros is given
OPEN = 6.0  # standard deviations at which no gate is closed
MOST_ZEROS = 0.99  # above this, some token would find every gate closed
# Each byte of the published layout holds four codes 0..2: these are the 81 possible bytes.
BYTES = np.array([a | b << 2 | c << 4 | d << 6 for a, b, c, d in product(range(3), repeat=4)])


def synthesize(
    preset: str, output: str | Path, *, layers: int | None = None, ffn_zeros: float | None = None,
    seed: int = 0, progress: bool = False,
) -> Path:  # fmt: skip
    """Write a checkpoint, packed or of bfloat16 linears; the same seed gives the same bytes.

    ffn_zeros: the share of squared-relu gates that are 0 at run time, 0 to 0.99, met within 0.02 in
    every layer over a few dozen tokens. None: not controlled, about 0.5.
    Raises ConfigError for a wrong option or an existing ``output``.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}, expected one of: {', '.join(PRESETS)}")
    quantization = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    }
    fields = {"model_type": "bitnet", "quantization_config": quantization, **PRESETS[preset]}
    if layers is not None:
        fields["num_hidden_layers"] = layers
    config = BitNetConfig.from_dict(fields)
    if ffn_zeros is not None:
        refuse_unreachable(config, ffn_zeros)
    with new_folder(Path(output)) as folder:
        tensors = random_tensors(config, seed, ffn_zeros, progress)
        write_checkpoint(folder, config, tensors, sentence_files(config))
        if config.record.task != "embedding":
            eos = {"bos_token_id": config.bos_token_id, "eos_token_id": list(config.eos_token_id)}
            write_text(folder / "generation_config.json", json.dumps(eos, indent=2) + "\n")
    return Path(output)


def refuse_unreachable(config: BitNetConfig, ffn_zeros: float) -> None:
    """Raise ConfigError for a share of zeros that the network cannot have."""
    if (act := config.record.hidden_act) != "relu2":
        raise ConfigError(
            f"hidden_act is {act!r}, expected 'relu2' for --ffn-zeros: other gates are never 0"
        )
    if not 0 <= ffn_zeros <= MOST_ZEROS:
        raise ConfigError(f"--ffn-zeros is {ffn_zeros:g}, expected 0 to {MOST_ZEROS}")


def random_tensors(
    config: BitNetConfig, seed: int, ffn_zeros: float | None = None, progress: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and content of each tensor of the checkpoint, one at a time.

    Final norm weights have random signs: otherwise a network with a tied table would only repeat
    its last token. Output projections are divided by the square root of twice the depth, as in
    GPT-2.
    """
    rng = np.random.default_rng(seed)
    parts = parts_of(config)
    norms, tables = parts.norms, parts.tables
    linears: list[Linear | ExpertLinear] = [*parts.linears.values(), *parts.experts.values()]
    constant = 0 if ffn_zeros is None else max(1, config.hidden_size // CONSTANT_SHARE)
    total = len(linears) + len(norms) + len(tables) + len(parts.routers)
    with tqdm(
        total=total, desc="random weights", unit="tensor", disable=not progress, file=sys.stderr
    ) as bar:
        for name in tables:
            table = normal(rng, (config.vocab_size, config.hidden_size))
            table[:, :constant] = 1
            yield name, table
            bar.update()
        for name, size in norms.items():
            weight = normal(rng, (size,)).float() * NORM_STD + 1.0
            if name == "model.norm.weight":
                weight *= torch.from_numpy(rng.choice([-1.0, 1.0], size).astype(np.float32))
            if ffn_zeros is not None and name.endswith("post_attention_layernorm.weight"):
                layer = int(name.split(".")[2])
                weight[:constant] = gate_shift(config, layer, weight[constant:], ffn_zeros)
            if name in parts.offset_norms:
                weight -= 1.0
            yield name, weight.to(torch.bfloat16)
            bar.update()
        for name, shape in parts.routers.items():
            yield name, normal(rng, shape) * INIT_STD
            bar.update()
        for linear in linears:
            if config.float_linears:
                yield f"{linear.name}.weight", normal(rng, linear.shape) * std_of(linear.name)
            else:
                yield from random_codes(rng, linear, constant)
            bar.update()


def random_codes(
    rng: np.random.Generator, linear: Linear | ExpertLinear, constant: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield the packed codes of a linear, and its scale; experts have one each."""
    name = linear.name
    *experts, rows, features = linear.shape
    codes = BYTES.astype(np.uint8)[rng.integers(0, 81, (*experts, rows // 4, features), np.uint8)]
    if name.endswith("gate_proj"):
        codes[:, :constant] = 0b10101010  # four times +1
    if name.endswith(OUTPUTS) and constant:
        codes[:constant] = codes[:constant] & 0b11111100 | 1  # row r is in bits 1:0: 0
    yield f"{name}.weight", torch.from_numpy(codes)
    scale = scale_of(name)
    if isinstance(linear, ExpertLinear):
        scale = written_scales(scale.expand(linear.count, linear.parts)).contiguous()
    yield f"{name}.weight_scale", scale


def gate_shift(config: BitNetConfig, layer: int, weight: Tensor, ffn_zeros: float) -> float:
    """Return the norm's weight on the constant channels; ``weight`` is that on all others.

    The residual stream starts with variance 1. Each output projection adds the variance of its
    result; a norm has given its input the variance 1.
    """
    added = [
        2 / 3 * linear.features * scale_of(name).item() ** 2 * (1 + NORM_STD**2)
        for name, linear in parts_of(config).linears.items()
        if name.startswith("model.layers.0.") and name.endswith(OUTPUTS)
    ]
    variance = 1 + layer * sum(added) + added[0]
    spread = math.sqrt(2 / 3 * variance * float(weight.square().sum()))
    shift = OPEN if ffn_zeros == 0 else -NormalDist().inv_cdf(ffn_zeros)
    return shift * spread / (config.hidden_size - len(weight))


def scale_of(name: str) -> Tensor:
    """Return the multiplier of a linear: the mean magnitude of the imagined masters."""
    return torch.tensor([std_of(name) * math.sqrt(2 / math.pi)]).to(torch.bfloat16)


def std_of(name: str) -> float:
    """Return the standard deviation of a linear's weights."""
    return INIT_STD / (math.sqrt(2 * DEPTH) if name.endswith(OUTPUTS) else 1.0)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal numbers as bfloat16, in slices so that memory stays small."""
    out = torch.empty(shape, dtype=torch.bfloat16).view(-1)
    for part in out.split(1 << 24):
        part.copy_(torch.from_numpy(rng.standard_normal(part.numel(), dtype=np.float32)))
    return out.view(shape)
