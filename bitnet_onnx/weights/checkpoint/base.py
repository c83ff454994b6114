"""What a checkpoint of any format offers.

Canonical names are those of the published safetensors; other formats are renamed to these.
Knows the number format; knows no file.
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

    @property
    def parts(self) -> Parts:
        """All tensors that it holds, by name."""
        return parts_of(self.config)

    @property
    def notes(self) -> tuple[str, ...]:
        """Assumptions made where the files say nothing; the command line prints them."""
        return ()

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """Read a norm, table or master weight as stored; refuse a NaN or an infinity in it."""

    @abstractmethod
    def ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        """Read a BitLinear's codes (int8 [N, K] in {-1, 0, +1}) and its multiplier (``scale``)."""

    @abstractmethod
    def scale(self, linear: str) -> Tensor:
        """Read only a BitLinear's multiplier, float32 [quantization_groups], [1] for most networks.

        With a group_size it is [N, K / group_size], and 0 for a group of zeros.
        """

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the files that determine the network."""

    @abstractmethod
    def text_files(self) -> dict[str, bytes]:
        """Return name -> content of its tokenizer, template and generation files."""


def quantize(config: BitNetConfig, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a master weight [N, K] as the network does: codes (float32 [N, K]), multiplier."""
    if config.record.weights == "binary":
        return sign_binary(weight, config.quantization_groups)
    if config.group_size is not None:
        return group_absmean(weight, config.group_size)
    return absmean_ternary(weight)
