"""A ``pytorch_model.bin`` as safetensors offers its files: names, shapes, types, one tensor a read.

Only tensors are unpickled (``weights_only``), so that no code in the file runs. Knows no network.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError

__all__ = ["PickledFile"]

# The names of safetensors.
NAMES = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
}
SAFE = "convert it where you trust it, with transformers: from_pretrained, then save_pretrained"


class PickledFile:
    """A mapped file of tensors by name; raises CheckpointError naming the file."""

    def __init__(self, path: Path) -> None:
        self._tensors = _load(path)
        for name, value in self._tensors.items():
            plain = isinstance(value, Tensor) and value.layout == torch.strided
            if not (isinstance(name, str) and plain and not value.is_quantized):
                kind = type(value).__name__
                raise CheckpointError(f"{path}: {name!r:.80} is a {kind}, expected a plain tensor")

    def keys(self) -> list[str]:
        return list(self._tensors)

    def get_tensor(self, name: str) -> Tensor:
        return self._tensors[name].detach().contiguous()

    def get_slice(self, name: str) -> PickledSlice:
        return PickledSlice(self._tensors[name].detach())


class PickledSlice:
    """A tensor of which a part may be read."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        return NAMES.get(self._tensor.dtype, str(self._tensor.dtype).removeprefix("torch."))

    def __getitem__(self, rows: slice) -> Tensor:
        return self._tensor[rows]


def _load(path: Path) -> dict[str, Tensor]:
    mapped = _is_zip(path)  # the older form of torch.save cannot be mapped
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} cannot be read as tensors only ({_first(error)}), expected a dictionary of "
            "tensors",
            hint=f"a pickle can run any code when it is opened, so it is not read; {SAFE}",
        ) from error
    except Exception as error:  # a damaged pickle raises errors of many classes
        raise CheckpointError(
            f"{path} is not a readable pytorch_model.bin ({path.stat().st_size} bytes): "
            f"{_first(error)}",
            hint="download the file again",
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, expected tensors by name")
    return found


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _first(error: BaseException) -> str:
    """Return one line of an error that is a text of several."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = [line for line in lines if line.startswith(("WeightsUnpickler", "Unsupported"))]
    return (what or lines or [type(error).__name__])[0][:160].rstrip(".")
