"""What every checkpoint offers, whatever its format.

Canonical names are those of the published safetensors; other formats are renamed to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor

from ...network.config import BitNetConfig
from ...network.parts import Parts, parts_of
from ..ternary import absmean_ternary, group_absmean, sign_binary

__all__ = ["Checkpoint", "quantize"]


class Checkpoint(ABC):
    """An open checkpoint; every tensor's presence, shape and type was checked when it opened.

    Tensors stay in the mapped file and are read one at a time. Methods raise CheckpointError
    naming the file and the tensor.
    """

    path: Path
    """The folder or file."""
    config: BitNetConfig
    """What the network is."""
    packed: bool
    """Ternary codes are stored (packed, or as floats), not float masters."""
    hub: tuple[str, str] | None = None
    """Repository and commit, when it was fetched from the Hugging Face Hub."""

    @property
    def parts(self) -> Parts:
        """Every tensor that it holds, by name."""
        return parts_of(self.config)

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be assumed because the files do not say it; the command line prints it."""
        return ()

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """A norm, table or master weight as stored; refused when it holds a NaN or an infinity."""

    @abstractmethod
    def ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        """A BitLinear's codes (int8 [N, K] in {-1, 0, +1}) and its multiplier, as ``scale``."""

    @abstractmethod
    def scale(self, linear: str) -> Tensor:
        """A BitLinear's multiplier alone, float32: [quantization_groups], which is [1] for most.

        [N, K / group_size] where the config has a group_size; 0 for a group of zeros.
        """

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that determine the network."""

    @abstractmethod
    def text_files(self) -> dict[str, bytes]:
        """Name -> content of the tokenizer, template and generation files that come with it."""


def quantize(config: BitNetConfig, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A master weight [N, K] -> codes (float32 [N, K]) and multiplier, as the network does it."""
    if config.record.weights == "binary":
        return sign_binary(weight, config.quantization_groups)
    if config.group_size is not None:
        return group_absmean(weight, config.group_size)
    return absmean_ternary(weight)
