"""A checkpoint folder with config.json and safetensors or pytorch_model.bin.

Knows linears as packed codes, as codes in floats, as codes times group scales and as masters. The
packed layout is in ``ternary.py``, the files are in ``files.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError, ConfigError
from ...network.body import Body
from ...network.config import BitNetConfig
from ...network.parts import ExpertLinear, Linear
from ...network.pooling import Pooling
from ...network.prompts import Prompts
from ...network.quantization import GROUP_SIZE
from .. import degenerate
from ..ternary import unpack_published
from .base import Checkpoint, quantize
from .experts import Shapes, expert_scales, joined, pieces_of, scale_shapes
from .files import (
    CONFIG,
    DTYPES,
    FLOATS,
    HADAMARD,
    OTHERS,
    Renamed,
    open_weights,
    read_texts,
    tensor_names,
    tokenizer_notes,
    weights_of,
)
from .groups import finer_groups, floats_notes, split_groups
from .hadamard import rotated_basis
from .sentence import NO_HEAD_NOTE, read_pooling

__all__ = ["FolderCheckpoint"]

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROWS_AT_A_TIME = 4096  # of the two tables when they are compared
IGNORED = ".rotary_emb.inv_freq"  # older LLaMA checkpoints hold it; this package computes it
SMALLEST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


class FolderCheckpoint(Checkpoint):
    """A folder of weights; raises ConfigError or CheckpointError naming file and tensor."""

    def __init__(self, folder: Path, *, ignore_keys: Collection[str] = ()) -> None:
        self.path = self.folder = folder
        self.config = BitNetConfig.from_file(
            self.folder / CONFIG, ignore_keys, lambda: Body.of(tensor_names(folder))
        )
        self.not_read = self.config.not_read
        beside = [name for name in OTHERS if name in ignore_keys and (folder / name).exists()]
        self.ignored_keys = (*self.config.ignored_keys, *beside)
        self.packed = self.config.quantization == "offline"
        self.config = rotated_basis(folder, self.config, ignore_keys)
        network = self.config.record
        self._pieces = pieces_of(self.parts) if network.separate_experts else {}
        self._weights = weights_of(folder, network).without_unneeded(self._needed())
        self._files = {p.name: Renamed(open_weights(p), network) for p in self._weights.files}
        self._where, unread = self._locate(), network.task == "embedding"
        self._has_unread_head = unread and self._where.pop(HEAD, None) is not None
        # Of masters, quantized once. One number stays a number: a small tensor pins freed memory.
        self._scales: dict[str, float | Tensor] = {}
        self._finer_groups: int | None = None
        self._check()
        if self.config.float_linears and not self.parts.experts and self._is_grouped():
            self.config, self.packed = self.config.grouped(), True
        if self.config.tie_word_embeddings and HEAD in self._where:
            self._untie()

    def _tensor(self, name: str) -> Tensor:
        if name in self._pieces:
            return joined(self._pieces[name], self._tensor)
        stored = self._files[self._where[name]].get_tensor(name)
        if stored.is_floating_point() and not all(x.isfinite() for x in stored.aminmax()):
            raise self._error(name, "holds a NaN or an infinity")
        if name in self.parts.biases and self.packed and not self.config.divide_by_scale:
            # transformers' AutoBitLinear multiplies the sum of product and bias.
            return stored.float() * self.scale(name.removesuffix(".bias"))
        return stored

    def _ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        stored = self._tensor(f"{linear}.weight")
        if not self.packed:
            self._check_masters(linear, stored)
            codes, scale = quantize(self.config, linear, stored)
            self._multiplier(f"{linear}.weight", scale)
            self._scales[linear] = scale.item() if scale.numel() == 1 else scale
            return codes.to(torch.int8), scale
        if self.config.group_size is not None:
            return self._grouped(f"{linear}.weight", stored, self.config.group_size)
        if stored.is_floating_point():
            codes = stored.to(torch.int8)
            if not torch.equal(codes.to(stored.dtype), stored) or codes.abs().max() > 1:
                raise self._error(f"{linear}.weight", "is not ternary, expected only -1, 0 and 1")
            return codes, self.scale(linear)
        codes = unpack_published(stored)
        if codes.max() > 1:
            raise self._error(f"{linear}.weight", "holds the code 3, expected only 0, 1 and 2")
        return codes, self.scale(linear)

    def scale(self, linear: str) -> Tensor:
        if not self.packed:
            if linear not in self._scales:
                return self._ternary(linear)[1]
            scale = self._scales[linear]
            return torch.tensor([scale]) if isinstance(scale, float) else scale
        if self.config.group_size is not None:
            return self._ternary(linear)[1]
        name = f"{linear}.weight_scale"
        if (experts := self.parts.experts.get(linear)) is not None:
            scale = expert_scales(self._tensor(name), experts)
        else:
            scale = self._tensor(name).float().reshape(1)
        if (least := scale.min().item()) <= 0:
            raise self._error(name, f"is {least}, expected above 0")
        return self._multiplier(name, 1.0 / scale if self.config.divide_by_scale else scale)

    def dtype(self, name: str) -> torch.dtype:
        found = [self._dtype(stored) for stored in self._stored(name)]
        return reduce(torch.promote_types, [dtype for dtype in found if dtype is not None])

    @property
    def notes(self) -> tuple[str, ...]:
        floats = floats_notes(self._finer_groups) if self.config.float_linears else ()
        unread = (NO_HEAD_NOTE,) if self._has_unread_head else ()
        return (*super().notes, *floats, *unread, *tokenizer_notes(self.folder))

    @property
    def pooling(self) -> Pooling:
        Prompts.of_folder(self.folder, ConfigError)  # an artifact takes their file as it is
        return read_pooling(self.folder, self.config.hidden_size)

    def files(self) -> list[Path]:
        beside = [] if self.config.hadamard is None else [HADAMARD]
        return [self.folder / name for name in (CONFIG, *beside, *sorted(self._files))]

    def text_files(self) -> dict[str, bytes]:
        return read_texts(self.folder)

    def _locate(self) -> dict[str, str]:
        """Return tensor name -> file name; refuse an index that differs."""
        where: dict[str, str] = {}
        for file, opened in self._files.items():
            for name in opened.keys():  # noqa: SIM118
                if name in where:
                    raise CheckpointError(
                        f"{self.folder / file} holds the tensor {name!r}, and so does {where[name]}"
                    )
                where[name] = file
        needed = self._needed()
        for name, file in self._weights.places.items():
            if where.get(name) != file and (name in where or name in needed):
                raise CheckpointError(
                    f"{self._weights.index} says that {file} holds the tensor {name!r}, but it "
                    "does not",
                    hint="download the checkpoint again, with its index and all of its shards",
                )
        return where

    def _needed(self) -> frozenset[str]:
        """Return the names of the tensors without which the network is not whole."""
        parts = self.parts
        linears = [s for n in (*parts.linears, *parts.experts) for s in self._stored(f"{n}.weight")]
        if self.packed and self.config.group_size is None:
            linears += [f"{name}_scale" for name in linears]
        return frozenset([*linears, *parts.norms, *parts.tables, *parts.biases, *parts.routers])

    def _stored(self, name: str) -> list[str]:
        """Return the tensors in files that a tensor of this package is made of."""
        return [piece for pieces in self._pieces.get(name, [[name]]) for piece in pieces]

    def _is_grouped(self) -> bool:
        """Return whether float linears hold code times scale, as of TriLM: the first one decides.

        Refuse a few magnitudes that are not -s, 0 and +s in each group.
        """
        linears = self.parts.linears
        if any(linear.features % GROUP_SIZE or linear.bias for linear in linears.values()):
            return False
        name = next(iter(linears))
        stored = self._tensor(f"{name}.weight")
        try:
            self._grouped(f"{name}.weight", stored, GROUP_SIZE)
        except CheckpointError:
            self._finer_groups = finer_groups(stored)
            if self._finer_groups is None and degenerate.few_magnitudes(stored):
                raise
            return False
        return True

    def _expected(self) -> dict[str, tuple[Shapes, tuple[torch.dtype, ...]]]:
        """Return tensor name -> the shapes and the types that it may have."""
        expected: dict[str, tuple[Shapes, tuple[torch.dtype, ...]]] = {}
        parts = self.parts
        linears: list[Linear | ExpertLinear] = [*parts.linears.values(), *parts.experts.values()]
        for linear in linears:
            *before, rows, features = linear.shape
            weight = f"{linear.name}.weight"
            if isinstance(linear, ExpertLinear) and weight in self._pieces:
                shapes = ((rows // linear.parts, features),)
                expected |= dict.fromkeys(self._stored(weight), (shapes, FLOATS))
                continue
            expected[weight] = ((linear.shape,), FLOATS)
            if not self.packed or self.config.group_size is not None:
                continue
            scales: Shapes = ((1,), (), (1, 1))
            if isinstance(linear, ExpertLinear):
                scales = scale_shapes(linear)
            expected[f"{linear.name}.weight_scale"] = (scales, FLOATS)
            if self._dtype(weight) in FLOATS:
                continue  # transformers' save_pretrained turns packed codes into floats
            if rows % 4:
                raise CheckpointError(
                    f"{self.folder / CONFIG}: {linear.name} has {rows} rows, expected a multiple "
                    "of 4 for the packed layout"
                )
            expected[weight] = (((*before, rows // 4, features),), (torch.uint8,))
        for name, size in (*parts.norms.items(), *parts.biases.items()):
            expected[name] = (((size,),), FLOATS)
        for name, shape in parts.routers.items():
            expected[name] = ((shape,), FLOATS)
        for name in [*parts.tables, HEAD] if HEAD in self._where else parts.tables:
            expected[name] = (((self.config.vocab_size, self.config.hidden_size),), FLOATS)
        return expected

    def _check(self) -> None:
        expected = self._expected()
        missing = sorted(expected.keys() - self._where.keys())
        if missing:
            raise CheckpointError(
                f"{self.folder} lacks the tensor {missing[0]} ({len(missing)} missing in all)",
                hint="download the checkpoint again, with all of its shards",
            )
        unknown = sorted(n for n in self._where.keys() - expected.keys() if not n.endswith(IGNORED))
        if unknown:
            raise CheckpointError(
                f"{self.folder / self._where[unknown[0]]}: {unknown[0]!r} is not a tensor of this "
                f"network ({len(unknown)} such in all)"
            )
        for name, (shapes, dtypes) in expected.items():
            piece = self._files[self._where[name]].get_slice(name)
            found = tuple(piece.get_shape())
            if found not in shapes:
                raise self._error(name, f"has the shape {list(found)}, expected {list(shapes[0])}")
            if (dtype := self._dtype(name)) not in dtypes:
                listed = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
                found_type = str(dtype or piece.get_dtype()).removeprefix("torch.")
                raise self._error(name, f"is {found_type}, expected {listed}")

    def _dtype(self, name: str) -> torch.dtype | None:
        """Return a tensor's type; None for a missing tensor and for a type that none may have."""
        if name not in self._where:
            return None
        return DTYPES.get(self._files[self._where[name]].get_slice(name).get_dtype())

    def _untie(self) -> None:
        """Untie a stored head that differs from the embedding, as transformers 5 does.

        The first upload of 2B-4T holds a head beside ``tie_word_embeddings: true``.
        """
        embedding, head = (self._files[self._where[n]].get_slice(n) for n in (EMBEDDING, HEAD))
        for row in range(0, self.config.vocab_size, ROWS_AT_A_TIME):
            rows = slice(row, row + ROWS_AT_A_TIME)
            if not torch.equal(embedding[rows].float(), head[rows].float()):
                self.config = replace(self.config, tie_word_embeddings=False)
                return

    def _grouped(self, name: str, stored: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the exact codes and scales of dequantized weights; refuse others."""
        codes, scale, wrong = split_groups(stored, size)
        if wrong is not None:
            raise self._error(name, wrong)
        self._multiplier(name, scale.where(scale != 0, torch.tensor(1.0)))
        return codes, scale

    def _multiplier(self, name: str, value: Tensor) -> Tensor:
        """Return the multiplier; refuse one that is not a normal float32 number above 0."""
        low, high = (bound.item() for bound in value.aminmax())
        if not SMALLEST <= low <= high <= LARGEST:
            raise self._error(
                name,
                f"makes the multiplier {low if low < SMALLEST else high}, expected {SMALLEST:.2g} "
                f"to {LARGEST:.2g}",
            )
        return value

    def _error(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(f"{self.folder / self._where[name]}: {name} {what}")
