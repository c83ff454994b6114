"""A folder of MLX whose linears are packs of 2 bits, as PrismML publishes Ternary-Bonsai.

A row of K weights is K / 16 words, uint32 ``weight``. Word i holds weight 16 i + j in its bits
2j+1:2j, as a code q from 0 to 3. Each group of weights along K has a number in ``scales`` and one
in ``biases``, and the weight is ``scale * q + bias``: ternary where bias is -scale and q at most 2.
Embedding and head may be packed in the same way. Knows the tensors; the config is read elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import BitNetError, CheckpointError, ConfigError
from ...files import read_object
from ...network.quantization import GROUP_SIZE
from ..hadamard import sign_tensor
from .base import KEPT_BY_FLOATS
from .experts import Shapes
from .files import CONFIG, FLOATS
from .folder import EMBEDDING, HEAD, FolderCheckpoint

__all__ = ["MlxCheckpoint", "is_mlx"]

PER_WORD = 16
PARTS = ("scales", "biases")
ROWS_AT_A_TIME = 1024  # of weights in float64


def is_mlx(folder: Path) -> bool:
    """Return whether config.json has MLX's section ``quantization``."""
    try:
        return isinstance(read_object(folder / CONFIG, ConfigError).get("quantization"), dict)
    except BitNetError:
        return False  # whoever opens the folder says why


class Rows(NamedTuple):
    """Some rows of a packed tensor."""

    start: int
    values: Tensor
    """float64 [rows, K]: ``scale * q + bias``."""
    threes: Tensor
    """bool [rows, K]: where q is 3 and stands for twice the scale."""


class MlxCheckpoint(FolderCheckpoint):
    """A folder of MLX's packs; raises ConfigError or CheckpointError naming file and tensor."""

    def __init__(self, folder: Path, *, ignore_keys: Collection[str] = ()) -> None:
        super().__init__(folder, ignore_keys=ignore_keys)
        for name in sorted(self._where):
            if name.endswith(".signs"):
                self._check_signs(name)

    def _tensor(self, name: str) -> Tensor:
        if not self._is_packed(name):
            return self._as_it_stands(name)
        return torch.cat([rows.values.float() for rows in self._rows(name)])

    def _as_it_stands(self, name: str) -> Tensor:
        """Read a tensor as it stands in the file."""
        return super()._tensor(name)

    def _ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        name = f"{linear}.weight"
        shape = self.parts.linears[linear].shape
        codes = torch.empty(shape, dtype=torch.int8)
        scale = torch.empty(shape[0], shape[1] // GROUP_SIZE)
        for rows in self._rows(name):
            part = slice(rows.start, rows.start + len(rows.values))
            groups = rows.values.unflatten(1, (-1, GROUP_SIZE))
            largest = groups.abs().amax(-1, keepdim=True)
            kept = largest.to(self._dtype(f"{linear}.scales")).double() == largest
            good = ((groups == 0) | (groups.abs() == largest)) & kept
            if not good.all():
                self._refuse(name, rows, good.flatten(1))
            codes[part], scale[part] = rows.values.sign().to(torch.int8), largest[..., 0].float()
        self._multiplier(name, scale.where(scale != 0, torch.tensor(1.0)))
        return codes, scale

    def _refuse(self, name: str, rows: Rows, good: Tensor) -> None:
        """Refuse rows that are not ternary: by the count of code 3, or by one of their numbers."""
        if threes := sum(int(part.threes.sum()) for part in self._rows(name)):
            linear = self.parts.linears[name.removesuffix(".weight")]
            count = linear.rows * linear.features
            error = self._error(
                name, f"holds the code 3 in {threes} of {count} weights, expected 0, 1 and 2"
            )
            raise CheckpointError(str(error), hint=KEPT_BY_FLOATS)
        row, column = divmod(int(good.view(-1).int().argmin()), good.shape[1])
        group = column // GROUP_SIZE
        value, part = rows.values[row, column].item(), slice(group * GROUP_SIZE, None)
        largest = rows.values[row, part][:GROUP_SIZE].abs().max().item()
        raise self._error(
            name,
            f"holds {value:g} in row {rows.start + row}, group {group} of {GROUP_SIZE}, expected "
            f"0 or ±{largest:g}: it is not ternary",
        )

    def _rows(self, name: str) -> Iterator[Rows]:
        """Yield the rows of a packed tensor, some at a time."""
        owner, size = name.removesuffix(".weight"), self.config.mlx_group_size
        packed = self._as_it_stands(name).view(torch.uint8)
        scales, biases = (self._as_it_stands(f"{owner}.{part}") for part in PARTS)
        for start in range(0, len(packed), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            codes = torch.stack([(packed[part] >> 2 * j) & 3 for j in range(4)], -1).flatten(1)
            groups = codes.unflatten(1, (-1, size))
            scale, bias = scales[part].double()[..., None], biases[part].double()[..., None]
            threes = (groups == 3) & (bias == -scale) & (scale != 0)
            yield Rows(start, (groups * scale + bias).flatten(1), threes.flatten(1))

    def _is_packed(self, name: str) -> bool:
        return name.endswith(".weight") and f"{name.removesuffix('.weight')}.scales" in self._where

    def _needed(self) -> frozenset[str]:
        parts = [f"{name}.{part}" for name in self.parts.linears for part in PARTS]
        return super()._needed() | frozenset(parts)

    def _expected(self) -> dict[str, tuple[Shapes, tuple[torch.dtype, ...]]]:
        expected, size = super()._expected(), self.config.mlx_group_size
        assert size is not None
        linears = {f"{name}.weight" for name in self.parts.linears}
        for name in {*linears, *self.parts.tables, HEAD} & expected.keys():
            if name not in linears and not self._is_packed(name):
                continue  # a table may be float
            owner, (rows, features) = name.removesuffix(".weight"), expected[name][0][0]
            expected[name] = (((rows, features // PER_WORD),), (torch.uint32,))
            for part in PARTS:
                expected[f"{owner}.{part}"] = (((rows, features // size),), FLOATS)
            rotated = self.config.hadamard is not None and name in self.config.hadamard.weights
            if rotated and f"{owner}.signs" in self._where:
                expected[f"{owner}.signs"] = (((features,),), FLOATS)
        return expected

    def _check_signs(self, name: str) -> None:
        """Refuse the signs of a weight that are not those of its width in hadamard.json."""
        stored, hadamard = self._as_it_stands(name), self.config.hadamard
        assert hadamard is not None
        if not torch.equal(stored.float(), sign_tensor(hadamard, len(stored))):
            raise self._error(name, "is not what hadamard.json holds for its width")

    def _untie(self) -> None:
        if self._is_packed(EMBEDDING) or self._is_packed(HEAD):
            raise self._error(
                HEAD, "is given, expected no head of its own: tie_word_embeddings is true"
            )
        super()._untie()
