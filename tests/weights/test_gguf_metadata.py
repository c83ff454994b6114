"""Metadata that nothing asks for is skipped, whatever it holds; what is asked for is checked."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.weights.gguf.container import GgufFile
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import gguf_files
from tests.support.checkpoints import read_all
from tests.support.gguf_files import SMALL

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def array(type: int, *elements: bytes) -> bytes:
    return u32(type) + struct.pack("<Q", len(elements)) + b"".join(elements)


def with_field(path: Path, key: str, type: int, value: bytes) -> Path:
    """Add a field of any type at the end of the metadata, and keep the tensors where they are."""
    content = path.read_bytes()
    tensors, fields = struct.unpack_from("<QQ", content, 8)
    file = GgufFile(path)
    last = max(file.fields, key=lambda key: file.fields._places[key])
    end = file.fields._places[last][1]
    first = min(info.start for info in file.tensors.values())
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, fields + 1) + content[24:end]
    head += text(key.encode()) + u32(type) + value + content[end : file._reader.at]
    path.write_bytes(head + bytes(-len(head) % 32) + content[first:])
    return path


NESTED = array(ARRAY, array(U32, u32(1), u32(2)), array(STRING, text(b"x")), array(ARRAY))
UNUSED: dict[str, tuple[int, bytes]] = {
    "nested": (ARRAY, NESTED),
    "nested twice": (ARRAY, array(ARRAY, NESTED, NESTED)),
    "empty": (ARRAY, array(STRING)),
    "latin-1": (STRING, text("café".encode("latin-1"))),
    "latin-1 in an array": (ARRAY, array(STRING, text(b"caf\xe9"), text(b"x"))),
    "no bool": (BOOL, b"\x07"),
    "bools": (ARRAY, array(BOOL, b"\x01", b"\x00")),
    "nan": (F32, struct.pack("<f", float("nan"))),
    "many numbers": (ARRAY, u32(U8) + struct.pack("<Q", 1 << 23) + bytes(1 << 23)),
    "many texts": (ARRAY, u32(STRING) + struct.pack("<Q", 1 << 18) + bytes(8 << 18)),
    "long": (STRING, text(b"x" * (1 << 20))),
}


@pytest.mark.parametrize("case", UNUSED)
@pytest.mark.parametrize("key", ["general.description", "general.notes"])
def test_an_unused_value_is_skipped(tmp_path: Path, case: str, key: str) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    plain = open_checkpoint(path)
    expected = plain.ternary("model.layers.0.self_attn.q_proj")[0].tolist()
    found = open_checkpoint(with_field(path, key, *UNUSED[case]))
    assert found.config == plain.config
    assert found.ternary("model.layers.0.self_attn.q_proj")[0].tolist() == expected
    read_all(found)


@pytest.mark.parametrize("case", ["nested", "latin-1", "latin-1 in an array", "no bool", "long"])
def test_the_same_value_is_refused_where_it_is_used(tmp_path: Path, case: str) -> None:
    options: dict[str, Any] = {"metadata": {"tokenizer.ggml.bos_token_id": None}, **SMALL}
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **options)
    with_field(path, "tokenizer.ggml.bos_token_id", *UNUSED[case])
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.bos_token_id") as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    peeked = GgufFile(path).fields.peek("tokenizer.ggml.bos_token_id")
    assert isinstance(peeked, list | str | bytes)


@pytest.mark.parametrize(("type", "value"), [(13, b"\x00" * 8), (ARRAY, array(99)), (1 << 31, b"")])
def test_a_value_of_an_unknown_type_is_refused_by_its_key(
    tmp_path: Path, type: int, value: bytes
) -> None:
    """How far it goes is not known."""
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    with_field(path, "general.odd", type, value)
    with pytest.raises(CheckpointError, match=r"general\.odd has the value type .*, expected 0 to"):
        open_checkpoint(path)


def test_a_token_that_is_not_utf8_is_refused_with_its_number(tmp_path: Path) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    with_field(path, "tokenizer.ggml.model", STRING, text(b"gpt2"))
    tokens = array(STRING, text(b"a"), text(b"\xff\xfe"))
    checkpoint = open_checkpoint(with_field(path, "tokenizer.ggml.tokens", ARRAY, tokens))
    with pytest.raises(CheckpointError, match=r"text 1 of tokenizer\.ggml\.tokens is not UTF-8"):
        checkpoint.text_files()


def test_values_are_those_of_the_gguf_package(tmp_path: Path) -> None:
    """Each type, read again and again in any order."""
    import gguf

    values: dict[str, tuple[Any, gguf.GGUFValueType]] = {
        "a.u8": (7, gguf.GGUFValueType.UINT8),
        "a.i8": (-7, gguf.GGUFValueType.INT8),
        "a.i64": (-(1 << 40), gguf.GGUFValueType.INT64),
        "a.u64": (1 << 40, gguf.GGUFValueType.UINT64),
        "a.f64": (0.1, gguf.GGUFValueType.FLOAT64),
        "a.bool": (True, gguf.GGUFValueType.BOOL),
        "a.text": ("é", gguf.GGUFValueType.STRING),
    }
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for key, (value, type) in values.items():
        writer.add_key_value(key, value, type)
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.texts", ["x", "", "é"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    fields = GgufFile(tmp_path / "m.gguf").fields
    for _ in range(2):
        for key in reversed(values):
            assert fields[key] == values[key][0]
        assert np.array_equal(np.asarray(fields["a.numbers"]), [1, 2, 3])
        assert fields["a.texts"] == ["x", "", "é"]
    assert next(iter(fields)) == "general.architecture"
    assert len(fields) == len(values) + 3
