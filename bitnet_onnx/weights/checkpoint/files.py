"""The files of a checkpoint folder: which hold its weights, and which its texts.

Knows the names that transformers gives them, in one file or in shards with an index. Knows no
tensor.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ...errors import CheckpointError, ConfigError
from ...files import read_object
from ...network.body import canonical
from ...network.records import Network
from .experts import joined_name, older_name
from .pickled import PickledFile
from .sentence import PROMPTS
from .templates import with_templates

__all__ = [
    "BIN",
    "BIN_INDEX",
    "CONFIG",
    "DTYPES",
    "FLOATS",
    "HADAMARD",
    "INDEX",
    "OTHERS",
    "SINGLE",
    "TEXT_FILES",
    "Renamed",
    "Weights",
    "open_weights",
    "read_texts",
    "refuse_others",
    "tensor_names",
    "tokenizer_notes",
    "weights_of",
]

CONFIG, HADAMARD = "config.json", "hadamard.json"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
TEXT_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    PROMPTS,
)
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json")
DTYPES = {  # by the names of safetensors
    "U8": torch.uint8,
    "U32": torch.uint32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
}
# Files of PEFT and of PrismML's MLX packs.
OTHERS = {
    "adapter_config.json": "an adapter",
    HADAMARD: "a rotated basis",
}


@dataclass(frozen=True)
class Weights:
    """The weights' files of a folder."""

    files: list[Path]
    index: Path | None = None
    places: dict[str, str] = field(default_factory=dict)
    """Canonical tensor name -> file name, as the index says."""

    def without_unneeded(self, needed: frozenset[str]) -> Weights:
        """Leave out missing files that hold none of the tensors that the network needs."""
        wanted = {file for name, file in self.places.items() if name in needed}
        files = [path for path in self.files if path.name in wanted or path.is_file()]
        return self if self.index is None or not wanted else replace(self, files=files)


def name_of(stored: str, network: Network | None) -> str:
    """Return the name that a tensor of this stored name has in this package."""
    name = older_name(stored)
    if network is None:
        return name
    name = canonical(name) if network.task == "embedding" else name
    return joined_name(name) if network.separate_experts else name


def weights_of(folder: Path, network: Network | None = None) -> Weights:
    """Return the weights' files: safetensors where there are any, else pickled ones.

    network: whose tensors may have other names in files.
    """
    for single, index in ((SINGLE, INDEX), (BIN, BIN_INDEX)):
        if (folder / index).exists():
            stored = _weight_map(folder / index)
            places = {name_of(name, network): file for name, file in stored.items()}
            files = [folder / name for name in sorted(set(places.values()))]
            return Weights(files, folder / index, places)
        if path := _named(folder, single):
            return Weights([path])
    return Weights([folder / SINGLE])


def _named(folder: Path, name: str) -> Path | None:
    """Return the file of this name, in capital letters too."""
    if (folder / name).exists():
        return folder / name
    paths = folder.iterdir() if folder.is_dir() else ()
    return next((path for path in sorted(paths) if path.name.lower() == name), None)


def _weight_map(index: Path) -> dict[str, str]:
    found = read_object(index, CheckpointError).get("weight_map")
    if not isinstance(found, dict):
        raise CheckpointError(f"{index}: weight_map is {found!r:.80}, expected an object")
    for name in found.values():
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise CheckpointError(f"{index} names the file {name!r:.80}, expected a plain name")
    return found


def open_weights(path: Path) -> safe_open | PickledFile:
    """Open one file of weights; raise CheckpointError naming it."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist", hint="a checkpoint folder holds model.safetensors or shards"
        )
    if path.suffix.lower() == ".bin":
        return PickledFile(path)
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({path.stat().st_size} bytes): {error}",
            hint="download the file again",
        ) from error


def tensor_names(folder: Path) -> set[str]:
    """Return the names of all tensors as stored; none where the files are missing."""
    weights = weights_of(folder)
    present = [path for path in weights.files if path.is_file()]
    return set(weights.places) or {name for path in present for name in open_weights(path).keys()}  # noqa: SIM118


class Renamed:
    """An open file of weights whose tensors have the names of this package."""

    def __init__(self, file: safe_open | PickledFile, network: Network) -> None:
        self._file = file
        self._names = [(name_of(name, network), name) for name in file.keys()]  # noqa: SIM118
        self._stored = dict(self._names)

    def keys(self) -> list[str]:
        """Return a name twice where two stored names stand for it."""
        return [name for name, _ in self._names]

    def get_tensor(self, name: str) -> Any:
        return self._file.get_tensor(self._stored[name])

    def get_slice(self, name: str) -> Any:
        return self._file.get_slice(self._stored[name])


def read_texts(folder: Path) -> dict[str, bytes]:
    """Return name -> content of the text files that the folder holds."""
    paths = (folder / name for name in TEXT_FILES)
    return with_templates(folder, {p.name: p.read_bytes() for p in paths if p.is_file()})


def tokenizer_notes(folder: Path) -> tuple[str, ...]:
    """Say what to do where the tokenizer is in a file that is not read."""
    slow = next((n for n in SLOW_TOKENIZERS if (folder / n).is_file()), None)
    if "tokenizer.json" in read_texts(folder) or slow is None:
        return ()
    return (
        f"the tokenizer is only in {slow}, which is not read, so the artifact takes and gives "
        "ids; for text make a tokenizer.json with transformers: "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    )


def refuse_others(folder: Path, ignore: Collection[str]) -> None:
    """Refuse files beside config.json that say that the weights alone are not the network."""
    for name, what in OTHERS.items():
        if (folder / name).exists() and name not in ignore:
            raise ConfigError(
                f"{folder / name} declares {what}, which is not supported",
                hint=f"if the weights do not need it, ignore it by name: --ignore-key {name}",
            )
