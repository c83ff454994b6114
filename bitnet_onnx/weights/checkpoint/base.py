"""What a checkpoint of any format offers.

Canonical names are those of the published safetensors; other formats are renamed to these.
Knows the number format, and refuses weights that only a damaged file has; knows no file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError
from ...network.config import BitNetConfig
from ...network.parts import Parts, parts_of
from ...network.pooling import Pooling
from ...network.quantization import UNQUANTIZED
from .. import degenerate
from ..hadamard import turned_back
from ..ternary import absmean_experts, absmean_ternary, group_absmean, sign_binary

__all__ = ["KEPT_BY_FLOATS", "Checkpoint", "quantize"]

KEPT_BY_FLOATS = "export with --linears float32, which holds it: the network is not ternary"


class Checkpoint(ABC):
    """An open checkpoint; opening it checked that each tensor exists and has its shape and type.

    Tensors stay in the mapped file and are read one at a time. Methods raise CheckpointError
    naming the file and the tensor.
    """

    path: Path
    """The folder or file."""
    config: BitNetConfig
    """What the network is."""
    packed: bool
    """Whether ternary weights are stored (packed, or as floats), not float masters."""
    hub: tuple[str, str] | None = None
    """Repository and commit of a checkpoint from the Hugging Face Hub."""
    not_read: tuple[str, ...] = ()
    """Keys of its config or metadata that nothing reads, and that are not known to be harmless."""
    ignored_keys: tuple[str, ...] = ()
    """Keys that can change a network and that the user chose to ignore."""
    allow_degenerate: bool = False
    """Whether tensors are taken as they are: all zero, all one code, equal rows."""

    @property
    def parts(self) -> Parts:
        """All tensors that it holds, by name."""
        return parts_of(self.config)

    @property
    def rotated_tables(self) -> frozenset[str]:
        """Tables that are stored in a rotated basis; ``tensor`` turns them back, as float32."""
        hadamard = self.config.hadamard
        return frozenset(() if hadamard is None else hadamard.weights & set(self.parts.tables))

    @property
    def notes(self) -> tuple[str, ...]:
        """Assumptions made where the files say nothing; the command line prints them."""
        if not self.not_read:
            return ()
        return (f"nothing reads these keys: {', '.join(self.not_read)}",)

    def with_float_linears(self) -> Checkpoint:
        """Return it with code times scale as float linears, itself where activations are int8.

        Floats hold such weights exactly, also those that are not ternary.
        """
        if self.config.group_size is None or not (self.packed and self.config.float_activations):
            return self
        made, size = copy(self), self.config.mlx_group_size
        floats = UNQUANTIZED._replace(mlx_group_size=size)
        made.config, made.packed = replace(self.config, **floats._asdict()), False
        return made

    def tensor(self, name: str) -> Tensor:
        """Read a norm, table, bias, float or master weight; refuse a NaN or an infinity in it.

        A degenerate one is refused too, unless ``allow_degenerate``.
        """
        stored = self._tensor(name)
        if self.config.hadamard is not None and name in self.rotated_tables:
            stored = turned_back(stored, self.config.hadamard)
        if name in self.parts.norms:
            offset = 1.0 if name in self.parts.offset_norms else 0.0
            self._refuse_degenerate(name, degenerate.of_norm, stored.float() + offset)
        elif name in self.parts.tables:
            self._refuse_degenerate(name, degenerate.of_table, stored)
        elif name in self.parts.biases:
            return stored
        elif name in self.parts.routers or self.config.float_linears:
            self._check_rows(name.removesuffix(".weight"), stored)
        elif not self.packed:
            self._check_masters(name.removesuffix(".weight"), stored)
        return stored

    def ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        """Read a BitLinear's codes (int8 [N, K] in {-1, 0, +1}) and its multiplier (``scale``).

        Of a linear of experts they are [E, N, K] and [E, parts]. Degenerate codes are refused,
        unless ``allow_degenerate``, and so is a float linear.
        """
        if self.config.float_linears:
            raise CheckpointError(
                f"{self.path}: {linear}.weight is float, expected a ternary weight: this network "
                "has float linears",
            )
        codes, scale = self._ternary(linear)
        self._check_rows(linear, codes)
        self._refuse_degenerate(f"the scale of {linear}", degenerate.of_scale, scale)
        return codes, scale

    def _check_masters(self, linear: str, weight: Tensor) -> None:
        """Refuse masters that are degenerate, or that are quantized already."""
        self._check_rows(linear, weight)
        quantizes = self.config.record.weights != "binary"  # twice is the same as once there
        matrices = weight if weight.ndim > 2 else [weight]
        few = any(degenerate.few_magnitudes(matrix) for matrix in matrices)
        if quantizes and not self.allow_degenerate and few:
            raise CheckpointError(
                f"{self.path}: {linear}.weight holds 0 and a few magnitudes only, expected float "
                "masters: quantizing these weights again would change their scale",
                hint="if they are code times scale for float activations, as in TriLM, take "
                "quantization_config out of config.json; --allow-degenerate quantizes them again",
            )

    def _check_rows(self, linear: str, weight: Tensor) -> None:
        heads = linear.endswith(("q_proj", "k_proj", "v_proj", "o_proj"))
        find = partial(degenerate.of_linear, head_dim=self.config.head_dim if heads else 0)
        if weight.ndim == 2:
            self._refuse_degenerate(f"{linear}.weight", find, weight)
            return
        for expert, matrix in enumerate(weight):
            self._refuse_degenerate(f"expert {expert} of {linear}.weight", find, matrix)

    def _refuse_degenerate(
        self, name: str, find: Callable[[Tensor], str | None], weight: Tensor
    ) -> None:
        if not self.allow_degenerate and (found := find(weight)) is not None:
            raise CheckpointError(
                f"{self.path}: {name} {found}, which no trained network has",
                hint="download the file again; if it is meant to be so, give --allow-degenerate "
                "(in Python: allow_degenerate=True)",
            )

    @property
    def pooling(self) -> Pooling:
        """How a network that embeds texts turns the vectors of tokens into one."""
        return Pooling("last", note="the last token is taken and normalized")

    @abstractmethod
    def _tensor(self, name: str) -> Tensor: ...

    @abstractmethod
    def _ternary(self, linear: str) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def dtype(self, name: str) -> torch.dtype:
        """Return the type of what ``tensor(name)`` reads from the file, without reading it."""

    @abstractmethod
    def scale(self, linear: str) -> Tensor:
        """Read only a BitLinear's multiplier, float32 [quantization_groups], [1] for most networks.

        Of a linear of experts it is [E, parts]. With a group_size it is [N, K / group_size], and 0
        for a group of zeros.
        """

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the files that determine the network."""

    @abstractmethod
    def text_files(self) -> dict[str, bytes]:
        """Return name -> content of its tokenizer, template and generation files."""


def quantize(config: BitNetConfig, linear: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a master weight [N, K] as the network does: codes (float32 [N, K]), multiplier."""
    if (experts := parts_of(config).experts.get(linear)) is not None:
        return absmean_experts(weight, experts.parts)
    if config.record.weights == "binary":
        return sign_binary(weight, config.quantization_groups)
    if config.group_size is not None:
        return group_absmean(weight, config.group_size)
    return absmean_ternary(weight)
