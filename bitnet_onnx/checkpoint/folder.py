"""A checkpoint folder with config.json and safetensors, single file or sharded.

Knows safetensors, the packed layout and the bf16 master layout; what is packed how is in
``ternary.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..config import BitNetConfig
from ..errors import CheckpointError
from ..ternary import unpack_published
from .base import Checkpoint, linear_shapes, norm_shapes, quantize, table_names

__all__ = ["INDEX", "SINGLE", "FolderCheckpoint"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TEXT_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROWS_AT_A_TIME = 4096  # of the two tables when they are compared
IGNORED = ".rotary_emb.inv_freq"  # a buffer that older LLaMA checkpoints hold; computed here
FLOATS = (torch.bfloat16, torch.float16, torch.float32)


class FolderCheckpoint(Checkpoint):
    """Raises ConfigError or CheckpointError naming the file and the tensor."""

    def __init__(self, folder: Path) -> None:
        self.path = self.folder = folder
        self.config = BitNetConfig.from_file(self.folder / "config.json")
        self.packed = self.config.quantization == "offline"
        self._files = {path.name: _open(path) for path in self._weight_files()}
        self._where = {name: file for file, st in self._files.items() for name in st.keys()}  # noqa: SIM118
        self._check()
        if self.config.tie_word_embeddings and HEAD in self._where:
            self._untie()

    def tensor(self, name: str) -> Tensor:
        stored = self._files[self._where[name]].get_tensor(name)
        if stored.is_floating_point() and not all(x.isfinite() for x in stored.aminmax()):
            raise self._wrong(name, "holds a NaN or an infinity")
        return stored

    def ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        stored = self.tensor(f"{linear}.weight")
        if not self.packed:
            codes, scale = quantize(self.config, stored)
            return codes.to(torch.int8), scale
        if stored.is_floating_point():
            codes = stored.to(torch.int8)
            if not torch.equal(codes.to(stored.dtype), stored) or codes.abs().max() > 1:
                raise self._wrong(f"{linear}.weight", "is no ternary weight, expected -1, 0 and 1")
            return codes, self.scale(linear)
        codes = unpack_published(stored)
        if codes.max() > 1:
            raise self._wrong(f"{linear}.weight", "holds the code 3, expected only 0, 1 and 2")
        return codes, self.scale(linear)

    def scale(self, linear: str) -> Tensor:
        if not self.packed:
            return quantize(self.config, self.tensor(f"{linear}.weight"))[1]
        scale = self.tensor(f"{linear}.weight_scale").float().reshape(1)
        if scale.item() <= 0:
            raise self._wrong(f"{linear}.weight_scale", f"is {scale.item()}, expected above 0")
        return 1.0 / scale if self.config.divide_by_scale else scale

    def files(self) -> list[Path]:
        return [self.folder / name for name in ("config.json", *sorted(self._files))]

    def text_files(self) -> dict[str, bytes]:
        paths = (self.folder / name for name in TEXT_FILES)
        return {path.name: path.read_bytes() for path in paths if path.is_file()}

    def _weight_files(self) -> list[Path]:
        index = self.folder / INDEX
        if not index.exists():
            return [self.folder / SINGLE]
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise CheckpointError(f"{index} is not a safetensors index: {error!r}") from error
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise CheckpointError(f"{index} names the file {name!r}, expected a plain name")
        return [self.folder / name for name in sorted(names)]

    def _check(self) -> None:
        expected: dict[str, tuple[tuple[int, ...], tuple[torch.dtype, ...]]] = {}
        for name, (rows, features) in linear_shapes(self.config).items():
            expected[f"{name}.weight"] = ((rows, features), FLOATS)
            if self.packed:
                expected[f"{name}.weight_scale"] = ((1,), FLOATS)
            if self.packed and not self._unpacked(f"{name}.weight", (rows, features)):
                if rows % 4:
                    raise CheckpointError(f"{name} has {rows} rows, packed needs a multiple of 4")
                expected[f"{name}.weight"] = ((rows // 4, features), (torch.uint8,))
        for name, size in norm_shapes(self.config).items():
            expected[name] = ((size,), FLOATS)
        tables = table_names(self.config)
        for name in [*tables, HEAD] if HEAD in self._where else tables:
            expected[name] = ((self.config.vocab_size, self.config.hidden_size), FLOATS)
        missing = sorted(expected.keys() - self._where.keys())
        if missing:
            raise CheckpointError(
                f"{self.folder} lacks the tensor {missing[0]} ({len(missing)} missing in all)",
                hint="download the checkpoint again, all of its shards",
            )
        unknown = sorted(n for n in self._where.keys() - expected.keys() if not n.endswith(IGNORED))
        if unknown:
            raise self._wrong(
                unknown[0], f"is not a tensor of this network ({len(unknown)} such in all)"
            )
        for name, (shape, dtypes) in expected.items():
            piece = self._files[self._where[name]].get_slice(name)
            found = tuple(piece.get_shape())
            if found != shape:
                raise self._wrong(name, f"has the shape {list(found)}, expected {list(shape)}")
            if (dtype := _DTYPES.get(piece.get_dtype())) not in dtypes:
                listed = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
                found_type = str(dtype or piece.get_dtype()).removeprefix("torch.")
                raise self._wrong(name, f"is {found_type}, expected {listed}")

    def _unpacked(self, name: str, shape: tuple[int, ...]) -> bool:
        """Ternary weights as floats [N, K]: what transformers' save_pretrained writes."""
        if name not in self._where:
            return False
        piece = self._files[self._where[name]].get_slice(name)
        return tuple(piece.get_shape()) == shape and _DTYPES.get(piece.get_dtype()) in FLOATS

    def _untie(self) -> None:
        """A head beside ``tie_word_embeddings: true``, as in the first upload of 2B-4T.

        transformers 5 ties the two only if they are equal, and else uses the head that is stored.
        """
        embedding, head = (self._files[self._where[n]].get_slice(n) for n in (EMBEDDING, HEAD))
        for row in range(0, self.config.vocab_size, ROWS_AT_A_TIME):
            rows = slice(row, row + ROWS_AT_A_TIME)
            if not torch.equal(embedding[rows].float(), head[rows].float()):
                self.config = replace(self.config, tie_word_embeddings=False)
                return

    def _wrong(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(f"{self.folder / self._where[name]}: {name} {what}")


_DTYPES = {
    "U8": torch.uint8,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
}


def _open(path: Path) -> safe_open:
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist", hint="a checkpoint folder holds model.safetensors or shards"
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({path.stat().st_size} bytes): {error}",
            hint="download the file again",
        ) from error
