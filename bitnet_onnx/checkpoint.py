"""A published checkpoint on disk: its config, and its tensors under canonical names.

Knows safetensors (single file or sharded), the packed layout and the bf16 master layout. Knows
no network code and no ONNX. Tensors are memory-mapped and read one at a time.
Canonical names are the published ones: facts of layout in ``ternary.py``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import BitNetConfig
from .errors import CheckpointError
from .files import write_text
from .ternary import absmean_ternary, pack_published, unpack_published

__all__ = [
    "Checkpoint",
    "linear_shapes",
    "norm_shapes",
    "table_names",
    "tensors_of",
    "write_checkpoint",
]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 1 << 29
TEXT_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)
FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def linear_shapes(config: BitNetConfig) -> dict[str, tuple[int, int]]:
    """Name without ``.weight`` -> (N, K) of every BitLinear."""
    hidden, inner = config.hidden_size, config.intermediate_size
    width = config.num_attention_heads * config.head_dim
    kv_width = config.num_key_value_heads * config.head_dim
    shapes = {
        "self_attn.q_proj": (width, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, width),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    layers = range(config.num_hidden_layers)
    return {f"model.layers.{i}.{name}": shape for i in layers for name, shape in shapes.items()}


def norm_shapes(config: BitNetConfig) -> dict[str, int]:
    """Name of every RMSNorm weight -> its size."""
    sizes = {
        "input_layernorm": config.hidden_size,
        "post_attention_layernorm": config.hidden_size,
        "self_attn.attn_sub_norm": config.num_attention_heads * config.head_dim,
        "mlp.ffn_sub_norm": config.intermediate_size,
    }
    layers = range(config.num_hidden_layers)
    norms = {f"model.layers.{i}.{name}.weight": n for i in layers for name, n in sizes.items()}
    return {**norms, "model.norm.weight": config.hidden_size}


def table_names(config: BitNetConfig) -> list[str]:
    """The [V, H] tables: the embedding, and the head unless tied."""
    tied = config.tie_word_embeddings
    return ["model.embed_tokens.weight"] + ([] if tied else ["lm_head.weight"])


class Checkpoint:
    """An open checkpoint folder; every tensor's presence, shape and dtype was checked.

    Raises ConfigError or CheckpointError naming the file and the tensor.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CheckpointError(
                f"{self.folder} is not a folder",
                hint="give the folder that holds config.json and the .safetensors files",
            )
        self.config = BitNetConfig.from_file(self.folder / "config.json")
        self.packed = self.config.quantization == "offline"
        self._files = {path.name: _open(path) for path in self._weight_files()}
        self._where = {name: file for file, st in self._files.items() for name in st.keys()}  # noqa: SIM118
        self._check()

    def tensor(self, name: str) -> Tensor:
        """The tensor as stored, memory-mapped; refused when it holds a NaN or an infinity."""
        stored = self._files[self._where[name]].get_tensor(name)
        if stored.is_floating_point() and not all(x.isfinite() for x in stored.aminmax()):
            raise self._wrong(name, "holds a NaN or an infinity")
        return stored

    def ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        """A BitLinear's codes (int8 [N, K] in {-1, 0, +1}) and multiplier (float32 [1])."""
        stored = self.tensor(f"{linear}.weight")
        if not self.packed:
            codes, scale = absmean_ternary(stored)
            return codes.to(torch.int8), scale
        codes = unpack_published(stored)
        if codes.max() > 1:
            raise self._wrong(f"{linear}.weight", "holds the code 3, expected only 0, 1 and 2")
        return codes, self.scale(linear)

    def scale(self, linear: str) -> Tensor:
        """A BitLinear's multiplier (float32 [1]) alone."""
        if not self.packed:
            return absmean_ternary(self.tensor(f"{linear}.weight"))[1]
        scale = self.tensor(f"{linear}.weight_scale").float().reshape(1)
        if scale.item() <= 0:
            raise self._wrong(f"{linear}.weight_scale", f"is {scale.item()}, expected above 0")
        return 1.0 / scale if self.config.divide_by_scale else scale

    def files(self) -> list[Path]:
        """The files that determine the network: config and weights."""
        return [self.folder / name for name in ("config.json", *sorted(self._files))]

    def text_files(self) -> list[Path]:
        """The tokenizer, template and generation files that lie beside the weights."""
        return [self.folder / name for name in TEXT_FILES if (self.folder / name).is_file()]

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
            if self.packed:
                if rows % 4:
                    raise CheckpointError(f"{name} has {rows} rows, packed needs a multiple of 4")
                expected[f"{name}.weight"] = ((rows // 4, features), (torch.uint8,))
                expected[f"{name}.weight_scale"] = ((1,), FLOATS)
            else:
                expected[f"{name}.weight"] = ((rows, features), FLOATS)
        for name, size in norm_shapes(self.config).items():
            expected[name] = ((size,), FLOATS)
        for name in table_names(self.config):
            expected[name] = ((self.config.vocab_size, self.config.hidden_size), FLOATS)
        missing = sorted(expected.keys() - self._where.keys())
        if missing:
            raise CheckpointError(
                f"{self.folder} lacks the tensor {missing[0]} ({len(missing)} missing in all)",
                hint="download the checkpoint again, all of its shards",
            )
        unknown = sorted(self._where.keys() - expected.keys())
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


def tensors_of(config: BitNetConfig, state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """A trained model's ``state_dict`` with float masters -> tensors in the published packing."""
    linears = linear_shapes(config)
    for name, tensor in state.items():
        linear = name.removesuffix(".weight")
        if linear in linears:
            codes, scale = absmean_ternary(tensor)
            yield name, pack_published(codes.to(torch.int8))
            yield f"{linear}.weight_scale", scale.to(torch.bfloat16)
        else:
            yield name, tensor.to(torch.bfloat16)


def write_checkpoint(
    folder: Path,
    config: BitNetConfig,
    tensors: Iterable[tuple[str, Tensor]],
    text_files: Iterable[Path] = (),
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a checkpoint into an existing folder, in shards so that memory stays bounded.

    One file ``model.safetensors`` when all fits in ``shard_bytes``; else shards and an index.
    """
    shards: list[list[str]] = []
    pending: dict[str, Tensor] = {}
    total = size = 0

    def flush() -> None:
        nonlocal size
        save_file(pending, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()
        size = 0

    for name, tensor in tensors:
        if pending and size + tensor.nbytes > shard_bytes:
            flush()
        pending[name] = tensor.contiguous()
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards):
        last = len(shards)
        file = SINGLE if last == 1 else f"model-{i + 1:05d}-of-{last:05d}.safetensors"
        shard = (folder / f"shard-{i}").rename(folder / file)
        shard.chmod(0o644)  # safetensors makes files that only their owner may read
        weight_map.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_text(folder / INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")
    write_text(folder / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
    for path in text_files:
        shutil.copyfile(path, folder / path.name)
