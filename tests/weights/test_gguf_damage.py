"""A GGUF file of any bytes is read, or refused in one sentence that names the file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitnet_onnx.errors import BitNetError, CheckpointError
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, gguf_files
from tests.support.checkpoints import read_all
from tests.support.gguf_files import SMALL

WIDE: dict[str, Any] = {"hidden": 256, "heads": 4, "kv_heads": 2, "inner": 256, "layers": 1}
Q = "blk.0.attn_q.weight"
LINEAR = "model.layers.0.self_attn.q_proj"


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return u64(len(content)) + content


def tensor(name: str, shape: list[int], kind: int, offset: int) -> bytes:
    return text(name) + u32(len(shape)) + b"".join(map(u64, shape)) + u32(kind) + u64(offset)


def header(fields: list[bytes], tensors: list[bytes], data: bytes = b"", version: int = 3) -> bytes:
    content = b"GGUF" + u32(version) + u64(len(tensors)) + u64(len(fields))
    content += b"".join(fields) + b"".join(tensors)
    return content + bytes(-len(content) % 32) + data


ARRAY, STRING, F32, F16 = 9, 8, 0, 1
NAME = text("general.architecture") + u32(STRING) + text("bitnet-b1.58")
ALIGN = text("general.alignment") + u32(4)
HUGE = 1 << 63
HEADERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cannot be mapped"),
    "three bytes": (b"GGU", "the file begins with b'GGU', expected b'GGUF'"),
    "text": (b"version https://git-lfs.github.com/spec/v1", "the file begins with b'vers'"),
    "only magic": (b"GGUF", "version needs 4 bytes at 4, but the file has 0 left"),
    "version 1": (header([], [], version=1), "version is 1, expected 2 or 3"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + bytes(16), "the file is big-endian"),
    "no counts": (b"GGUF" + u32(3), "tensor_count needs 8 bytes"),
    "tensor count": (b"GGUF" + u32(3) + u64(HUGE) + u64(0), f"tensor_count is {HUGE}"),
    "field count": (b"GGUF" + u32(3) + u64(0) + u64(HUGE), f"kv_count is {HUGE}"),
    "missing fields": (b"GGUF" + u32(3) + u64(0) + u64(9), "the name of field 0 needs 8 bytes"),
    "key length": (header([u64(HUGE)], []), f"the name of field 0 is a text of {HUGE} bytes"),
    "key past the end": (header([u64(1 << 20)], []), "field 0 needs 1048576 bytes"),
    "key empty": (header([text("") + u32(4) + u32(1)], []), "the name of field 0 is ''"),
    "key control": (header([text("a\n") + u32(4) + u32(1)], []), r"the name of field 0 is 'a\\n'"),
    "key not utf-8": (header([text(b"\xff") + u32(4) + u32(1)], []), "field 0 is not UTF-8"),
    "twice": (header([NAME, NAME], []), "general.architecture is given twice"),
    "value type": (header([text("a.b") + u32(13)], []), "a.b has the value type 13"),
    "text not utf-8": (
        header([text("general.architecture") + u32(STRING) + text(b"\xc0")], []),
        "general.architecture is not UTF-8",
    ),
    "text length": (header([text("a.b") + u32(STRING) + u64(HUGE)], []), f"a.b needs {HUGE} bytes"),
    "bool": (
        header([text("general.alignment") + u32(7) + b"\x02"], []),
        "general.alignment is the byte 2, expected 0 or 1",
    ),
    "nested array": (
        header([text("general.alignment") + u32(ARRAY) + u32(ARRAY) + u64(0)], []),
        "general.alignment is an array of the type 9",
    ),
    "array type": (header([text("a.b") + u32(ARRAY) + u32(13) + u64(0)], []), "has the value type"),
    "arrays past the end": (
        header([text("a.b") + u32(ARRAY) + u32(ARRAY) + u64(9)], []), "a.b needs 72 bytes",
    ),
    "arrays in arrays": (
        header([text("a.b") + u32(ARRAY) + (u32(ARRAY) + u64(1)) * 9 + bytes(90)], []),
        "a.b has arrays within arrays, expected at most 4 levels",
    ),
    "array count": (
        header([text("a.b") + u32(ARRAY) + u32(4) + u64(HUGE)], []), "a.b needs .* bytes",
    ),
    "text count": (
        header([text("a.b") + u32(ARRAY) + u32(STRING) + u64(HUGE)], []), f"a.b has {HUGE} texts",
    ),
    "texts past the end": (
        header([text("a.b") + u32(ARRAY) + u32(STRING) + u64(1 << 20)], []), "a.b needs 8388608",
    ),
    "alignment 0": (header([ALIGN + u32(0)], []), "general.alignment is 0, expected a power of 2"),
    "alignment 24": (header([ALIGN + u32(24)], []), "general.alignment is 24"),
    "alignment huge": (header([ALIGN + u32(1 << 31)], []), "general.alignment is 2147483648"),
    "alignment text": (
        header([text("general.alignment") + u32(STRING) + text("32")], []),
        "general.alignment is '32'",
    ),
    "no architecture": (header([], []), "general.architecture is None, expected one of: bitnet"),
    "gpt2": (
        header([text("general.architecture") + u32(STRING) + text("gpt2")], []),
        "general.architecture is 'gpt2', expected one of: bitnet-b1.58, bitnet, bitnet-25, llama",
    ),
    "no sizes": (header([NAME], []), "bitnet-b1.58.embedding_length is missing"),
    "missing tensors": (
        b"GGUF" + u32(3) + u64(2) + u64(0), "the name of tensor 0 needs 8 bytes",
    ),
    "rank 0": (header([], [text(Q) + u32(0)]), f"{Q} has 0 dimensions, expected 1 to 4"),
    "rank 5": (header([], [text(Q) + u32(5)]), f"{Q} has 5 dimensions"),
    "rank huge": (header([], [text(Q) + u32(0xFFFFFFFF)]), f"{Q} has 4294967295 dimensions"),
    "size 0": (header([], [tensor(Q, [0, 8], F32, 0)]), rf"{Q} has the shape \[8, 0\]"),
    "size huge": (header([], [tensor(Q, [HUGE, 2], F32, 0)]), f"{Q} has the shape"),
    "sizes overflow": (header([], [tensor(Q, [1 << 32, 1 << 32], F32, 0)]), f"{Q} has the shape"),
    "type": (header([], [tensor(Q, [32], 999, 0)]), f"{Q} has the tensor type 999"),
    "type removed": (header([], [tensor(Q, [32], 4, 0)]), f"{Q} has the tensor type 4"),
    "odd offset": (header([], [tensor(Q, [8], F32, 4)]), "offset 4, expected a multiple of 32"),
    "offset huge": (header([], [tensor(Q, [8], F32, 1 << 63)]), f"{Q} lies at bytes"),
    "past the end": (header([], [tensor(Q, [8], F32, 0)], bytes(31)), f"{Q} lies at bytes"),
    "i2_s past the end": (header([], [tensor(Q, [128], 36, 0)], bytes(63)), f"{Q} lies at bytes"),
    "row of blocks": (header([], [tensor(Q, [128, 2], 35, 0)], bytes(66)), "multiple of 256"),
    "i2_s of 3": (header([], [tensor(Q, [3], 36, 0)], bytes(66)), f"{Q} has 3 I2_S weights"),
    "name twice": (
        header([], [tensor(Q, [8], F32, 0), tensor(Q, [8], F32, 32)], bytes(64)), "is given twice",
    ),
    "overlap": (
        header([], [tensor("a", [16], F32, 0), tensor("b", [8], F32, 32)], bytes(64)),
        "b overlaps a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_a_damaged_header_is_refused(tmp_path: Path, kind: str) -> None:
    content, message = HEADERS[kind]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300
    assert "\n" not in str(caught.value)


B = "bitnet-b1.58"
METADATA: dict[str, tuple[Any, str]] = {
    f"{B}.embedding_length": (0, "embedding_length as hidden_size is 0"),
    f"{B}.block_count": (1025, "block_count as num_hidden_layers is 1025"),
    f"{B}.feed_forward_length": ([1, 2], "feed_forward_length is an array of 2"),
    f"{B}.attention.head_count": (3, "expected a multiple of"),
    f"{B}.attention.head_count_kv": (7, "head_count_kv as num_key_value_heads is 7"),
    f"{B}.attention.key_length": (15, "head_dim"),
    f"{B}.attention.value_length": (8, "value_length is 8, expected head_dim 16"),
    f"{B}.rope.dimension_count": (8, "rope.dimension_count is 8, expected head_dim 16"),
    f"{B}.attention.layer_norm_rms_epsilon": (float("nan"), "as rms_norm_eps is nan"),
    f"{B}.rope.freq_base": (-1.0, "rope.freq_base as rope_theta is -1.0"),
    f"{B}.rope.scaling.type": ("yarn", "rope_scaling"),
    f"{B}.vocab_size": (95, "vocab_size is 95, expected the 96 rows of token_embd.weight"),
    f"{B}.expert_count": (8, "expert_count is 8, expected null or 0"),
    "prism.hadamard.sign_widths": ([32, 64], "sign_widths is .*, which is not understood"),
    "prism.version": (1, "prism.version is 1, which is not understood"),
    f"{B}.context_length": ("many", "context_length as max_position_embeddings is 'many'"),
    "tokenizer.ggml.bos_token_id": (96, "bos_token_id as bos_token_id is 96"),
    "tokenizer.ggml.eot_token_id": (1 << 31, "eos_token_id is"),
    "general.alignment": (7, "general.alignment is 7"),
}


@pytest.mark.parametrize("key", METADATA)
def test_a_wrong_field_is_refused_by_its_key(tmp_path: Path, key: str) -> None:
    value, message = METADATA[key]
    path, *_ = gguf_files.make(tmp_path / "m.gguf", metadata={key: value}, **SMALL)
    with pytest.raises(BitNetError, match=message) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)


def test_an_unknown_activation_is_refused(tmp_path: Path) -> None:
    options = {"architecture": "bitnet", "metadata": {"bitnet.hidden_act": "gelu"}, **SMALL}
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **options)
    with pytest.raises(CheckpointError, match=r"bitnet\.hidden_act is 'gelu', expected 'relu2' or"):
        open_checkpoint(path)


@pytest.mark.parametrize("key", ["embedding_length", "block_count", "attention.head_count"])
def test_a_missing_field_is_refused_by_its_key(tmp_path: Path, key: str) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", metadata={f"{B}.{key}": None}, **SMALL)
    with pytest.raises(CheckpointError, match=f"{key} is missing"):
        open_checkpoint(path)


Masters = dict[str, torch.Tensor]
NETWORKS: dict[str, tuple[Callable[[Masters], Any], dict[str, Any], str]] = {
    "missing linear": (lambda m: m.pop(f"{LINEAR}.weight"), {}, f"{Q} is missing"),
    "missing norm": (lambda m: m.pop("model.norm.weight"), {}, "output_norm.weight is missing"),
    "missing table": (lambda m: m.pop("model.embed_tokens.weight"), {}, "token_embd.weight is m"),
    "shape": (
        lambda m: m.update({f"{LINEAR}.weight": torch.ones(64, 32)}), {},
        rf"{Q} has the shape \[64, 32\], expected \[32, 32\]",
    ),
    "norm shape": (
        lambda m: m.update({"model.norm.weight": torch.ones(31)}), {}, r"the shape \[31\]",
    ),
    "head shape": (
        lambda m: m.update({"lm_head.weight": torch.ones(95, 32)}), {}, "output.weight has the sh",
    ),
    "float linear": (lambda m: None, {"linear": "F16"}, f"{Q} is F16, expected one of: I2_S, TQ1"),
    "quantized norm": (lambda m: None, {"norm": "Q8_0"}, "is Q8_0, expected one of: F32, F16"),
    "odd table": (lambda m: None, {"table": "MXFP4"}, "weight is MXFP4, expected one of"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_wrong_tensor_is_refused_at_open(tmp_path: Path, kind: str) -> None:
    change, options, message = NETWORKS[kind]
    fields = checkpoints.config_fields(packed=False, **SMALL)
    masters = checkpoints.masters(fields, 0)
    change(masters)
    path = gguf_files.write(tmp_path / "m.gguf", fields, masters, **options)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)


def patch(path: Path, name: str, at: int, content: bytes) -> None:
    """Change a tensor's bytes; ``at`` counts from its start, or from its end if negative."""
    info = open_checkpoint(path)._file.tensors[name]  # type: ignore[attr-defined]
    damaged = bytearray(path.read_bytes())
    start = (info.start if at >= 0 else info.end) + at
    damaged[start : start + len(content)] = content
    path.write_bytes(damaged)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), -0.0])
def test_an_impossible_i2s_scale_is_refused(tmp_path: Path, value: float) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    patch(path, Q, -32, struct.pack("<f", value))
    for read in (open_checkpoint(path).ternary, open_checkpoint(path).scale):
        with pytest.raises(CheckpointError, match=f"{Q} has the scale {value}"):
            read(LINEAR)


def test_the_code_3_is_refused(tmp_path: Path) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    patch(path, Q, 5, b"\xc0")
    with pytest.raises(CheckpointError, match=f"{Q} holds the code 3") as caught:
        open_checkpoint(path).ternary(LINEAR)
    assert "--i2s-layout" in str(caught.value.hint)
    wide, *_ = gguf_files.make(tmp_path / "w.gguf", linear="TQ2_0", **WIDE)
    patch(wide, Q, 5, b"\xff")
    with pytest.raises(CheckpointError, match="holds the code 3"):
        open_checkpoint(wide).ternary(LINEAR)


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])
def test_blocks_of_a_tensor_must_share_one_scale(tmp_path: Path, kind: str) -> None:
    """Blocks of zeros may have the scale 0; a second scale other than 0 is refused."""
    path, *_ = gguf_files.make(tmp_path / "m.gguf", linear=kind, **WIDE)
    expected = open_checkpoint(path).ternary(LINEAR)[1]
    size = {"TQ1_0": 54, "TQ2_0": 66}[kind]
    zeros = {"TQ1_0": b"\x80" * 48 + b"\x7f" * 4, "TQ2_0": b"\x55" * 64}[kind]
    patch(path, Q, 0, zeros + bytes(2))
    assert torch.equal(open_checkpoint(path).ternary(LINEAR)[1], expected)
    assert not open_checkpoint(path).ternary(LINEAR)[0].view(-1)[:256].any()
    patch(path, Q, 2 * size - 2, struct.pack("<e", 3.0))
    with pytest.raises(CheckpointError, match=f"{Q} has block scales from .* to 3, expected one"):
        open_checkpoint(path).ternary(LINEAR)
    patch(path, Q, 2 * size - 2, struct.pack("<e", float("nan")))
    with pytest.raises(CheckpointError, match=f"{Q} has the scale nan"):
        open_checkpoint(path).ternary(LINEAR)


@pytest.mark.parametrize("name", ["output_norm.weight", "token_embd.weight"])
def test_a_norm_or_table_that_is_not_finite_is_refused(tmp_path: Path, name: str) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    patch(path, name, 0, b"\x00\x7c" if name.startswith("token") else b"\x00\x00\x80\x7f")
    with pytest.raises(CheckpointError, match=f"{name} holds a NaN or an infinity"):
        read_all(open_checkpoint(path))


def test_a_quantized_table_with_a_wrong_scale_is_refused(tmp_path: Path) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", table="Q8_0", **SMALL)
    patch(path, "token_embd.weight", 0, b"\x00\x7e")
    with pytest.raises(CheckpointError, match=r"token_embd\.weight holds a NaN or an infinity"):
        read_all(open_checkpoint(path))


@pytest.mark.parametrize(("layout", "block"), [("x86", 128), ("arm", 64)])
def test_i2s_needs_whole_blocks(tmp_path: Path, layout: str, block: int) -> None:
    fields: dict[str, Any] = {
        "hidden": 4 if layout == "arm" else 8,
        "heads": 2,
        "kv_heads": 1,
        "inner": 128,
    }
    path, *_ = gguf_files.make(tmp_path / "m.gguf", linear=layout, layers=1, **fields)
    with pytest.raises(CheckpointError, match=f"expected a multiple of {block} for I2_S in the"):
        open_checkpoint(path, i2s_layout=layout)
