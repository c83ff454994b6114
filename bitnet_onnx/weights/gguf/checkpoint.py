"""A GGUF file as a checkpoint: tensors under canonical names, decoded one at a time.

Knows the tensors of a network and the types that they may have. The container is in
``container.py``, the config in ``config.py``, the ternary types in ``blocks.py``, the tokenizer in
``tokenizer.py``.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize
from torch import Tensor

from ...errors import ConfigError
from ...network.config import BitNetConfig
from ...network.pooling import Pooling
from ...network.records import of_architecture
from ..checkpoint.base import KEPT_BY_FLOATS, Checkpoint
from ..checkpoint.files import read_texts
from ..checkpoint.groups import split_groups
from .blocks import GROUPED, I2S_BLOCKS, unpack_i2s
from .config import (
    GgufConfig,
    architecture,
    grouped_where_ternary,
    refuse_another_config,
    unread_keys,
)
from .container import I2_S, TensorInfo, block_bytes, type_name
from .embedding import body_of, pooling_of
from .hadamard import rotated_basis
from .names import gguf_names, permuted_heads, unpermute_heads
from .parts import open_gguf
from .rope import FACTORS
from .scales import expert_scales, group_scales, one_scale, plausible
from .tokenizer import GgufText

__all__ = ["GgufCheckpoint"]

FLOATS: dict[int, torch.dtype] = {
    Type.F32: torch.float32,
    Type.F16: torch.float16,
    Type.BF16: torch.bfloat16,
}
QUANTIZED = (
    *(Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0),
    *(Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K),
)
ROWS_AT_A_TIME = 4096  # of a quantized table


class GgufCheckpoint(Checkpoint):
    """A .gguf file; a config.json beside it is preferred to its metadata.

    i2s_layout: ``x86``, as published, or ``arm``; the file does not say which one it has.
    Raises ConfigError or CheckpointError naming the file and the field or tensor.
    """

    def __init__(
        self,
        path: Path,
        *,
        i2s_layout: str = "x86",
        ignore_keys: Collection[str] = (),
    ) -> None:
        if i2s_layout not in I2S_BLOCKS:
            raise ConfigError(f"i2s_layout is {i2s_layout!r}, expected one of: x86, arm")
        self._file = open_gguf(path)
        self.path = self._file.path
        self.i2s_layout = i2s_layout
        self._beside = path.with_name("config.json")
        if self._beside.is_file():
            self.architecture, self._notes = architecture(self._file), []
            body = partial(body_of, self._file)
            self.config = self._stored(BitNetConfig.from_file(self._beside, ignore_keys, body))
            refuse_another_config(self._file, self.config)
        else:
            metadata = GgufConfig(self._file)
            self.config, self._notes = metadata.config(), metadata.notes
            self.architecture = metadata.architecture
        self.config = rotated_basis(self._file, self.config, ignore_keys)
        self.packed = not self.config.float_linears
        unread = unread_keys(self._file, self.config.record, self._beside.is_file(), ignore_keys)
        self.not_read = tuple(dict.fromkeys((*self.config.not_read, *unread.noted)))
        self.ignored_keys = (*self.config.ignored_keys, *unread.ignored)
        self._where = self._check()
        if any(info.type == I2_S for infos in self._where.values() for info in infos):
            self._notes.append(
                f"I2_S tensors are read in the {i2s_layout} layout; the file does not name one"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        beside = self.path.with_name("tokenizer.json").exists()
        texts = [] if beside else self._text().notes
        return (*self._notes, *texts, *super().notes)

    def dtype(self, name: str) -> torch.dtype:
        return FLOATS.get(self._where[name][0].type, torch.float32)

    def _stored(self, config: BitNetConfig) -> BitNetConfig:
        """Return a config as the file stores its network."""
        if config.float_linears:
            return grouped_where_ternary(self._file, config)
        # A GGUF file stores codes, and their scale multiplies.
        return replace(config, quantization="offline", divide_by_scale=False)

    def _tensor(self, name: str) -> Tensor:
        stored = joined([self._finite(info) for info in self._where[name]])
        if name in self.parts.offset_norms:
            return stored.float() - 1.0  # the file holds what the norm multiplies by
        heads = permuted_heads(self.config, self.architecture, name.rpartition(".")[0])
        return unpermute_heads(stored, heads) if heads else stored

    def _finite(self, info: TensorInfo) -> Tensor:
        stored = self._floats(info)
        if not all(x.isfinite() for x in stored.aminmax()):
            self._refuse(info, "holds a NaN or an infinity")
        return stored

    @property
    def pooling(self) -> Pooling:
        return pooling_of(self._file, self.architecture)

    def _ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        infos = self._where[f"{linear}.weight"]
        pairs = [self._decoded(info) for info in infos]
        codes, scale = joined([codes for codes, _ in pairs]), pairs[0][1]
        if linear in self.parts.experts:
            return codes, torch.stack([scale for _, scale in pairs], dim=1)
        if any(not torch.equal(scale, other) for _, other in pairs):
            self._refuse(infos[0], f"has another scale than {infos[1].name}, expected one scale")
        if heads := permuted_heads(self.config, self.architecture, linear):
            codes = unpermute_heads(codes, heads)
            scale = unpermute_heads(scale, heads) if scale.ndim == 2 else scale
        return codes, scale

    def _decoded(self, info: TensorInfo) -> tuple[Tensor, Tensor]:
        """Return the codes (int8, -1 to 1) and the scales of a ternary tensor."""
        if info.type in FLOATS and self.config.group_size is not None:
            codes, scale, wrong = split_groups(self._finite(info), self.config.group_size)
            return (codes, scale) if wrong is None else self._refuse(info, wrong)
        if info.type == I2_S:
            codes, scale = unpack_i2s(self._codes(info), self.i2s_layout), self._i2s_scale(info)
        else:
            codes, scale = self._blocks(info)
        if threes := int((codes > 2).sum()):
            floats = KEPT_BY_FLOATS if self.config.float_activations else None
            hint = "try the other --i2s-layout" if info.type == I2_S else floats
            count = codes.numel()
            found = f"holds the code 3 in {threes} of {count} weights, expected 0, 1 and 2"
            self._refuse(info, found, hint)
        return codes.view(torch.int8).sub_(1).view(info.shape), scale

    def scale(self, linear: str) -> Tensor:
        info, *others = self._where[f"{linear}.weight"]
        if info.type == I2_S and not others:
            return self._i2s_scale(info)
        return self._ternary(linear)[1]

    def files(self) -> list[Path]:
        return [*self._file.paths, *([self._beside] if self._beside.is_file() else [])]

    def text_files(self) -> dict[str, bytes]:
        """Return the files beside; without a tokenizer.json there, also those of the metadata."""
        beside = read_texts(self.path.parent)
        if "tokenizer.json" in beside:
            return beside
        return self._text().files() | beside

    def _text(self) -> GgufText:
        networks = of_architecture(self.architecture)
        return GgufText(self._file, networks[0].gguf.words)

    def describe(self) -> dict[str, Any]:
        """Describe the file for ``bitnet-onnx info``."""
        types = Counter(info.type_name for infos in self._where.values() for info in infos)
        return {
            "architecture": self.architecture,
            "tensors": dict(types),
            "config": self.config.to_dict(),
            "notes": list(self.notes),
        }

    def _check(self) -> dict[str, tuple[TensorInfo, ...]]:
        """Return canonical name -> tensors; refuse a missing, unknown or wrong tensor.

        A canonical tensor is one in the file, or two that hold its rows one after the other.
        """
        types: tuple[int, ...] = (*FLOATS, *QUANTIZED)
        expected: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        if self.packed:
            types = (*([I2_S] if self.config.group_size is None else FLOATS), *GROUPED)
        for name, linear in self.parts.linears.items():
            expected[f"{name}.weight"] = (linear.shape, types)
        of_experts = GROUPED if self.packed else types  # I2_S has no scale for each expert
        for name, experts in self.parts.experts.items():
            expected[f"{name}.weight"] = (experts.shape, tuple(of_experts))
        for name, shape in self.parts.routers.items():
            expected[name] = (shape, tuple(FLOATS))
        for name, size in (*self.parts.norms.items(), *self.parts.biases.items()):
            expected[name] = ((size,), tuple(FLOATS))
        for name in self.parts.tables:
            shape = (self.config.vocab_size, self.config.hidden_size)
            expected[name] = (shape, (*FLOATS, *QUANTIZED, *GROUPED))
        where = {}
        for name, (sizes, types) in expected.items():
            stored = gguf_names(self.config.record, name)
            if len(stored) > 1:
                sizes = (*sizes[:-2], sizes[-2] // len(stored), sizes[-1])
            where[name] = tuple(self._checked(part, sizes, types) for part in stored or (name,))
        known = {info.name for infos in where.values() for info in infos}
        if self.config.rope_scaling is not None and self.config.rope_scaling.short_factor:
            known.update(FACTORS.values())
        unknown = sorted(self._file.tensors.keys() - known)
        if unknown:
            self._file.refuse(
                unknown[0], f"is not a tensor of this network ({len(unknown)} such in all)"
            )
        return where

    def _checked(self, stored: str, sizes: tuple[int, ...], types: tuple[int, ...]) -> TensorInfo:
        """Return the tensor of this name in the file; refuse another shape or type."""
        info = self._file.tensors.get(stored)
        if info is None:
            self._file.refuse(stored, "is missing", "download the file again, or convert it again")
        if info.shape != sizes:
            self._refuse(info, f"has the shape {list(info.shape)}, expected {list(sizes)}")
        if info.type not in types:
            listed = ", ".join(type_name(type) for type in types)
            self._refuse(info, f"is {info.type_name}, expected one of: {listed}")
        block = I2S_BLOCKS[self.i2s_layout]
        if info.type == I2_S and math.prod(sizes) % block:
            self._refuse(
                info,
                f"has {math.prod(sizes)} weights, expected a multiple of {block} for I2_S in "
                f"the {self.i2s_layout} layout",
            )
        return info

    def _refuse(self, info: TensorInfo, what: str, hint: str | None = None) -> NoReturn:
        info.reader.refuse(info.name, what, hint)

    def _read(self, info: TensorInfo, dtype: torch.dtype, count: int, skip: int = 0) -> Tensor:
        """Return a flat view of the mapped file; give back the pages of earlier views."""
        reader = info.reader
        reader.forget()
        return torch.frombuffer(reader.data, dtype=dtype, count=count, offset=info.start + skip)

    def _floats(self, info: TensorInfo) -> Tensor:
        dtype = FLOATS.get(info.type)
        if dtype is not None:
            return self._read(info, dtype, math.prod(info.shape)).view(info.shape)
        shape = math.prod(info.shape[:-1]), info.shape[-1]
        stored = self._read(info, torch.uint8, info.size).view(shape[0], -1)
        rows, values = stored.numpy(), torch.empty(shape)
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            if info.type in GROUPED:
                codes, scales = GROUPED[info.type](stored[part].reshape(-1, block_bytes(info)))
                weights = codes.view(len(scales), -1).float() - 1
                values[part] = (weights * scales.float().unsqueeze(-1)).view(values[part].shape)
                continue
            with np.errstate(invalid="ignore", over="ignore"):  # tensor() finds a damaged scale
                values[part] = torch.from_numpy(dequantize(rows[part], Type(info.type)))
        return values.view(info.shape)

    def _codes(self, info: TensorInfo) -> Tensor:
        return self._read(info, torch.uint8, math.prod(info.shape) // 4)

    def _i2s_scale(self, info: TensorInfo) -> Tensor:
        at = info.start + math.prod(info.shape) // 4
        return plausible(info, torch.tensor(struct.unpack_from("<f", info.reader.data, at)))

    def _blocks(self, info: TensorInfo) -> tuple[Tensor, Tensor]:
        """Return codes and the multiplier of a type with a scale in each block."""
        blocks = self._read(info, torch.uint8, info.size).view(-1, block_bytes(info))
        codes, scales = GROUPED[info.type](blocks)
        if self.config.group_size is not None:
            return codes, group_scales(info, codes, scales.float(), self.config.group_size)
        return codes, (one_scale if len(info.shape) == 2 else expert_scales)(info, codes, scales)


def joined(parts: list[Tensor]) -> Tensor:
    """Return the rows of all parts, one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)
