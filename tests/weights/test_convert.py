"""Converted checkpoints keep every code and every multiplier, bit for bit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import BitNetError, CheckpointError, ConfigError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.checkpoint.base import Checkpoint
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.gguf.container import GgufFile
from bitnet_onnx.weights.gguf.write import write_gguf
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, gguf_files

SMALL: dict[str, Any] = {"hidden": 64, "heads": 2, "kv_heads": 1, "inner": 128, "layers": 1}
TABLE = "model.embed_tokens.weight"
FLOATS = ("F32", "F16")


def assert_same_weights(found: Checkpoint, expected: Checkpoint) -> None:
    for name in parts_of(expected.config).linears:
        for ours, theirs in zip(found.ternary(name), expected.ternary(name), strict=True):
            assert torch.equal(ours, theirs)
    for name in (*parts_of(expected.config).norms, *parts_of(expected.config).tables):
        assert torch.equal(found.tensor(name).float(), expected.tensor(name).float())


def tensors(folder: Path) -> dict[str, Tensor]:
    return {k: v for p in folder.glob("*.safetensors") for k, v in load_file(p).items()}


def assert_same_bytes(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("tied", [True, False])
def test_packed_to_gguf_and_back_gives_the_same_bytes(tmp_path: Path, tied: bool) -> None:
    folder = checkpoints.make(tmp_path / "in", shards=2, tied=tied, **SMALL)
    path = convert(folder, tmp_path / "m.gguf", to="gguf")
    assert open_checkpoint(path).config == open_checkpoint(folder).config
    convert(path, tmp_path / "out", to="packed")
    assert_same_bytes(tensors(tmp_path / "out"), tensors(folder))
    assert open_checkpoint(tmp_path / "out").config == open_checkpoint(folder).config


def test_the_bundled_model_survives_a_round_trip(tmp_path: Path, demo_checkpoint: Path) -> None:
    convert(demo_checkpoint, tmp_path / "m.gguf", to="gguf")
    out = convert(tmp_path / "m.gguf", tmp_path / "out", to="packed")
    assert_same_bytes(tensors(out), tensors(demo_checkpoint))
    assert (out / "tokenizer.json").read_bytes() == (
        demo_checkpoint / "tokenizer.json"
    ).read_bytes()
    names = ("config.json", "generation_config.json", "tokenizer_config.json")
    found, expected = (
        {n: json.loads((folder / n).read_text()) for n in names}
        for folder in (out, demo_checkpoint)
    )
    assert found["config.json"] == expected["config.json"]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert found[names[1]][name] == expected[names[1]][name]
    for name in ("bos_token", "eos_token", "pad_token", "chat_template"):
        assert found[names[2]][name] == expected[names[2]][name]


def test_the_written_bytes_equal_the_layout_spelled_out(tmp_path: Path) -> None:
    """This package's writer and the test's own writer give the same tensor bytes."""
    theirs, fields, masters = gguf_files.make(tmp_path / "theirs.gguf", **SMALL)
    folder = gguf_files.twin(tmp_path / "folder", fields, masters)
    ours = write_gguf(tmp_path / "ours.gguf", open_checkpoint(folder))
    left, right = (open_checkpoint(path)._file for path in (ours, theirs))  # type: ignore[attr-defined]
    assert left.tensors.keys() == right.tensors.keys()
    for name, info in left.tensors.items():
        other = right.tensors[name]
        assert (info.shape, info.type, info.size) == (other.shape, other.type, other.size)
        used = info.size - 28 if info.type == 36 else info.size  # the rest of I2_S is padding
        start, end = other.start, other.start + used
        assert info.reader.data[info.start : info.start + used] == other.reader.data[start:end]


def test_a_file_for_llama_cpp_keeps_every_weight(tmp_path: Path) -> None:
    """The file has TQ2_0 tensors and the architecture name that llama.cpp loads."""
    folder = open_checkpoint(
        checkpoints.make(tmp_path / "in", hidden=256, heads=4, inner=512, layers=1)
    )
    path = write_gguf(tmp_path / "m.gguf", folder, llama_cpp=True)
    fields = HeaderReader(path).fields
    assert fields["general.architecture"].contents() == "bitnet"
    assert fields["tokenizer.ggml.model"].contents() == "no_vocab"
    assert set(types_of(path)) == {int(gguf.GGMLQuantizationType[t]) for t in ("TQ2_0", *FLOATS)}
    found = open_checkpoint(path)
    assert_same_weights(found, folder)
    assert found.config == folder.config
    narrow = open_checkpoint(checkpoints.make(tmp_path / "narrow", **SMALL))
    with pytest.raises(CheckpointError, match="multiple of 256 for a row of TQ2_0"):
        write_gguf(tmp_path / "n.gguf", narrow, llama_cpp=True)


def types_of(path: Path) -> list[int]:
    return [info.type for info in open_checkpoint(path)._file.tensors.values()]  # type: ignore[attr-defined]


class HeaderReader(gguf.GGUFReader):
    """The gguf package's reader without its look at tensor data, since it does not know type 36."""

    def _build_tensors(self, start: int, fields: list[gguf.ReaderField]) -> None:
        names = (bytes(field.parts[1]).decode() for field in fields)
        self.stored = {n: field.parts[3].tolist() for n, field in zip(names, fields, strict=True)}


def test_the_gguf_package_reads_the_written_header(tmp_path: Path, demo_checkpoint: Path) -> None:
    path = convert(demo_checkpoint, tmp_path / "m.gguf", to="gguf")
    reader = HeaderReader(path)
    assert reader.stored["blk.0.attn_k.weight"] == [256, 64]
    assert reader.stored["token_embd.weight"] == [256, 832]
    assert len(reader.stored) == 5 * 11 + 2
    values = {name: field.contents() for name, field in reader.fields.items()}
    assert values["general.architecture"] == "bitnet-b1.58"
    assert values["bitnet-b1.58.attention.head_count_kv"] == 2
    assert values["bitnet-b1.58.rope.freq_base"] == 10000.0
    tokenizer = json.loads((demo_checkpoint / "tokenizer.json").read_text())
    tokens = values["tokenizer.ggml.tokens"]
    assert {text: token for token, text in enumerate(tokens)} == tokenizer["model"]["vocab"]
    assert values["tokenizer.ggml.token_type"] == [3] * 4 + [1] * 828
    merges = [pair.split(" ") for pair in values["tokenizer.ggml.merges"]]
    assert merges == tokenizer["model"]["merges"]
    assert values["tokenizer.ggml.pre"] == "other"  # its split into words has no name in GGUF
    assert (values["tokenizer.ggml.eos_token_id"], values["tokenizer.ggml.eot_token_id"]) == (1, 2)


def test_a_master_is_quantized_once(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "in", packed=False, **SMALL)
    master = open_checkpoint(folder)
    assert not master.packed
    path = convert(folder, tmp_path / "m.gguf", to="gguf")
    packed = convert(folder, tmp_path / "packed", to="packed")
    again = convert(path, tmp_path / "again", to="packed")
    for source in (path, packed, again):
        assert_same_weights(open_checkpoint(source), master)
    assert_same_bytes(tensors(again), tensors(packed))
    scales = {t.dtype for name, t in tensors(packed).items() if name.endswith("_scale")}
    assert torch.float32 in scales  # bfloat16 would round such a mean


def test_a_divisor_becomes_the_same_multiplier(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "in", **SMALL)
    fields = json.loads((folder / "config.json").read_text())
    fields["quantization_config"]["linear_class"] = "bitlinear"
    (folder / "config.json").write_text(json.dumps(fields))
    divides = open_checkpoint(folder)
    assert divides.config.divide_by_scale
    path = convert(folder, tmp_path / "m.gguf", to="gguf")
    back = convert(path, tmp_path / "out", to="packed")
    for source in (path, back):
        found = open_checkpoint(source)
        assert not found.config.divide_by_scale
        assert_same_weights(found, divides)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "BitnetForCausalLM"])
def test_llama_and_one_bit_llm_survive_a_round_trip(tmp_path: Path, architecture: str) -> None:
    """A LLaMA's rows of q and k are permuted in the file; 1bitLLM has other names of norms."""
    fields = checkpoints.config_fields(packed=False, **SMALL)
    fields |= {"model_type": "llama", "architectures": [architecture], "hidden_act": "silu"}
    stored = {}
    names = {"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"}
    for name, tensor in checkpoints.tensors(fields).items():
        old = next((old for old in names if old in name), None)
        if old is None:
            stored[name] = tensor
        elif architecture == "BitnetForCausalLM":
            stored[name.replace(old, names[old])] = tensor
    folder = checkpoints.write(tmp_path / "in", fields, stored)
    expected = open_checkpoint(folder)
    path = convert(folder, tmp_path / "m.gguf", to="gguf")
    found = open_checkpoint(path)
    assert found.config == replace(expected.config, quantization="offline")
    assert len(found.notes) == 1
    assert_same_weights(found, expected)
    name = {"LlamaForCausalLM": "llama", "BitnetForCausalLM": "bitnet"}[architecture]
    assert HeaderReader(path).fields["general.architecture"].contents() == name


def test_an_arm_file_becomes_an_x86_file(tmp_path: Path) -> None:
    arm, *_ = gguf_files.make(tmp_path / "arm.gguf", linear="arm", **SMALL)
    x86, *_ = gguf_files.make(tmp_path / "x86.gguf", linear="x86", **SMALL)
    out = convert(arm, tmp_path / "out.gguf", to="gguf", i2s_layout="arm")
    assert_same_weights(open_checkpoint(out), open_checkpoint(x86))


@pytest.mark.parametrize(
    ("values", "kind"),
    [([0.5, -3.0], "F16"), ([2**-60, 1.0], "BF16"), ([2**-60, 1.0 + 2**-20], "F32")],
)
def test_a_table_is_never_rounded(tmp_path: Path, values: list[float], kind: str) -> None:
    folder = checkpoints.make(tmp_path / "in", **SMALL)
    stored = tensors(folder)
    random = torch.Generator().manual_seed(0)
    table = torch.tensor(values)[torch.randint(2, stored[TABLE].shape, generator=random)]
    save_file({**stored, TABLE: table}, folder / "model.safetensors")
    path = convert(folder, tmp_path / "m.gguf", to="gguf")
    found = open_checkpoint(path)
    assert found._file.tensors["token_embd.weight"].type_name == kind  # type: ignore[attr-defined]
    assert torch.equal(found.tensor(TABLE).float(), table)
    back = tensors(convert(path, tmp_path / "out", to="packed"))[TABLE]
    assert back.dtype == (torch.float32 if kind == "F32" else torch.bfloat16)
    assert torch.equal(back.float(), table)


def test_a_refused_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    odd = checkpoints.make(tmp_path / "odd", packed=False, hidden=48, heads=2, inner=100, layers=1)
    with pytest.raises(CheckpointError, match=r"mlp\.gate_proj has 4800 weights, expected a mult"):
        convert(odd, tmp_path / "m.gguf", to="gguf")
    rows = checkpoints.make(
        tmp_path / "rows", packed=False, hidden=64, heads=2, inner=102, layers=1
    )
    with pytest.raises(CheckpointError, match="has 102 rows, expected a multiple of 4 for the"):
        convert(rows, tmp_path / "packed", to="packed")
    many = checkpoints.make(tmp_path / "many", eos_token_id=[1, 2, 3], **SMALL)
    with pytest.raises(CheckpointError, match=r"eos_token_id is \[1, 2, 3\]"):
        convert(many, tmp_path / "m.gguf", to="gguf")
    good = checkpoints.make(tmp_path / "good", **SMALL)
    (good / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is damaged"):
        convert(good, tmp_path / "m.gguf", to="gguf")
    (good / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="to is 'onnx', expected one of: packed, gguf"):
        convert(good, tmp_path / "m.gguf", to="onnx")
    (tmp_path / "taken.gguf").touch()
    with pytest.raises(ConfigError, match=r"taken\.gguf exists"):
        convert(good, tmp_path / "taken.gguf", to="gguf")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"odd", "rows", "many", "good", "taken.gguf"}


TOKENIZERS: dict[str, tuple[dict[str, bytes], str]] = {
    "not utf-8": ({"tokenizer.json": b"\xff"}, r"tokenizer\.json is damaged"),
    "a list": ({"tokenizer.json": b"[]"}, r"tokenizer\.json holds a list"),
    "model": ({"tokenizer.json": b'{"model": 3}'}, r"tokenizer\.json is of an unknown form"),
    "added": ({"tokenizer.json": b'{"added_tokens": [{}]}'}, "is of an unknown form"),
    "ids": ({"tokenizer.json": b'{"model": {"vocab": {"a": "b"}}}'}, "is of an unknown form"),
    "too many": ({"tokenizer.json": b'{"model": {"vocab": {"a": 96}}}'}, "holds the id 96"),
    "template": (
        {"tokenizer.json": b"{}", "chat_template.jinja": b"\xff"},
        r"chat_template\.jinja is not U",
    ),
    "generation": ({"generation_config.json": b"{"}, r"generation_config\.json is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_that_gguf_cannot_hold_is_refused(tmp_path: Path, kind: str) -> None:
    files, message = TOKENIZERS[kind]
    folder = checkpoints.make(tmp_path / "in", **SMALL)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "m.gguf", to="gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoints.make(tmp_path / "in", **SMALL)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(BitNetError, match="No space"):
        convert(folder, tmp_path / "m.gguf", to="gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# ----------------------------------------------------------------------------- the command line


def test_convert_and_info_run_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoints.make(tmp_path / "in", **SMALL)
    path = tmp_path / "m.gguf"
    assert main(["convert", str(folder), "-o", str(path), "--to", "gguf"]) == 0
    out = capsys.readouterr()
    assert out.out.strip() == str(path)
    assert "layout" not in out.err
    back = ["convert", str(path), "-o", str(tmp_path / "out"), "--to", "packed"]
    assert main([*back, "--i2s-layout", "x86"]) == 0
    out = capsys.readouterr()
    assert out.err.count("I2_S tensors are read in the x86 layout") == 1
    assert_same_bytes(tensors(tmp_path / "out"), tensors(folder))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr()
    assert '"architecture": "bitnet-b1.58"' in out.out
    assert '"I2_S": 7' in out.out
    assert "x86 layout" in out.out
    assert main([*back, "--i2s-layout", "x86"]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_gguf_file_exports_to_the_same_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file and its folder give the same weights file, byte for byte, and the same ids."""
    sizes: dict[str, Any] = {"hidden": 64, "heads": 4, "kv_heads": 2, "inner": 160, "layers": 2}
    path, fields, masters = gguf_files.make(tmp_path / "m.gguf", linear="arm", **sizes)
    folder = gguf_files.twin(tmp_path / "folder", fields, masters)
    for source, name in ((path, "a"), (folder, "b")):
        assert main(["export", str(source), "-o", str(tmp_path / name), "--i2s-layout", "arm"]) == 0
    assert capsys.readouterr().err.count("in the arm layout") == 1
    sessions = [Session(Artifact.open(tmp_path / name)) for name in "ab"]
    weights = [(tmp_path / name / "model.onnx_data").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    logits = [session.prefill([5, 7, 11]) for session in sessions]
    assert np.array_equal(logits[0], logits[1])
    for session in sessions:
        session.reset()
    ids = [generate(s, [[5, 7, 11]], GenerationConfig(max_new_tokens=12))[0].ids for s in sessions]
    assert ids[0] == ids[1]
    verify = ["verify", str(path), str(tmp_path / "a"), "--i2s-layout", "arm"]
    assert main([*verify, "--prompt-ids", "5,7,11", "--max-new-tokens", "8"]) == 0
    assert "agree" in capsys.readouterr().out


@pytest.mark.parametrize("key", [True, False, None])
@pytest.mark.parametrize("post", ["template", "sequence", "bert", "none"])
def test_gguf_says_of_the_bos_what_the_post_processor_does(
    tmp_path: Path, demo_checkpoint: Path, post: str, key: bool | None
) -> None:
    """add_bos_token of tokenizer_config.json decides nothing, as in transformers 5."""
    folder = tmp_path / "in"
    shutil.copytree(demo_checkpoint, folder)
    file = json.loads((folder / "tokenizer.json").read_text())
    template = file["post_processor"]
    ends = {"sep": ["<|end_of_text|>", 1], "cls": ["<|begin_of_text|>", 0]}
    file["post_processor"] = {
        "template": template,
        "sequence": {"type": "Sequence", "processors": [file["decoder"], template]},
        "bert": {"type": "BertProcessing"} | ends,
        "none": None,
    }[post]
    (folder / "tokenizer.json").write_text(json.dumps(file))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("add_bos_token", None)
    given = {} if key is None else {"add_bos_token": key}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | given))
    path = convert(folder, tmp_path / "m.gguf", to="gguf")
    adds = GgufFile(path).scalar("tokenizer.ggml.add_bos_token")
    own = Tokenizer.from_folder(folder)
    assert adds is (own.bos_token_id == 0) is (post != "none")
    for name, content in open_checkpoint(path).text_files().items():
        (tmp_path / name).write_bytes(content)
    assert Tokenizer.from_folder(tmp_path).encode("hello") == own.encode("hello")


def test_named_templates_go_to_gguf_and_back(tmp_path: Path, demo_checkpoint: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(demo_checkpoint, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    templates = [
        {"name": "default", "template": "{{ messages[0].content }}"},
        {"name": "tool_use", "template": "{{ tools[0].name }}"},
    ]
    config["chat_template"] = templates
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    files = open_checkpoint(convert(folder, tmp_path / "m.gguf", to="gguf")).text_files()
    assert json.loads(files["tokenizer_config.json"])["chat_template"] == templates
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    chat = [{"role": "user", "content": "hello"}]
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.render_chat(chat) == "hello"
    assert tokenizer.render_chat(chat, tools=[{"name": "f"}]) == "f"
