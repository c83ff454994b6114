"""The files of sentence-transformers say how tokens become one vector, or are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import bitnet_onnx
from bitnet_onnx.errors import BitNetError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.pooling import chosen_pooling, notes
from bitnet_onnx.model import BitNetEmbedding
from bitnet_onnx.network.pooling import Pooling
from bitnet_onnx.weights.checkpoint.sentence import PROMPTS, read_pooling
from bitnet_onnx.weights.checkpoint.write import save_packed
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.embedding import networks as oracle

PREFIX = "sentence_transformers.models."


def write(
    folder: Path,
    pooling: dict[str, Any] | None = None,
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    sentence: dict[str, Any] | None = None,
) -> Path:
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    listed = [
        {"idx": i, "name": str(i), "path": paths.get(kind, f"{i}_{kind}"), "type": PREFIX + kind}
        for i, kind in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    given = {"pooling_mode_lasttoken": True} if pooling is None else pooling
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(given))
    if sentence is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(sentence))
    return folder


OLD = {f"pooling_mode_{mode}": False for mode in ("cls_token", "max_tokens", "mean_tokens")}


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({**OLD, "pooling_mode_lasttoken": True, "word_embedding_dimension": 64}, "last"),
        ({**OLD, "pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 64}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode": "lasttoken", "include_prompt": False}, "last"),
    ],
)
def test_both_dialects_of_pooling_are_read(
    tmp_path: Path, pooling: dict[str, Any], mode: str
) -> None:
    assert read_pooling(write(tmp_path, pooling), 64) == Pooling(mode)


def test_modules_say_whether_vectors_are_normalized_and_how_long_texts_are(tmp_path: Path) -> None:
    folder = write(tmp_path, modules=("Transformer", "Pooling"), sentence={"max_seq_length": 512})
    assert read_pooling(folder, 64) == Pooling("last", normalize=False, longest=512)
    found = read_pooling(tmp_path / "nothing", 64)
    assert (found.mode, found.normalize) == ("last", True)
    assert "--pooling mean" in str(found.note)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"pooling": OLD}, "the pooling is none, expected lasttoken or mean"),
        ({"pooling": {"pooling_mode": "cls"}}, "the pooling is cls"),
        ({"pooling": {"pooling_mode": ["mean", "max"]}}, "the pooling is mean and max"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "the pooling is max_tokens"),
        ({"pooling": {"pooling_mode": "mean", "embedding_dimension": 32}}, "expected hidden_size"),
        ({"pooling": {"pooling_mode": "mean", "include_prompt": False}}, "include_prompt is False"),
        ({"pooling": {"pooling_mode": "mean", "weights": 1}}, "weights is given, which is not"),
        ({"modules": ("Transformer", "Pooling", "Dense")}, "the module .*Dense' is not understood"),
        ({"modules": ("Pooling", "Transformer")}, "is not understood|in this order"),
        ({"modules": ("Transformer", "Normalize")}, "expected|is not understood"),
        ({"modules": ("Transformer",)}, "expected a Pooling, too"),
        ({"modules": ()}, "no module, expected a Pooling"),
        ({"modules": ("Transformer", "Pooling", "Pooling")}, "is not understood"),
        ({"sentence": {"do_lower_case": True}}, "do_lower_case is true, expected false"),
        ({"sentence": {"max_seq_length": "512"}}, "max_seq_length is '512', expected a number"),
        ({"sentence": {"max_seq_length": 0}}, "max_seq_length is 0, expected a number"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, how: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        read_pooling(write(tmp_path, **how), 64)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"{}", b'[{"type": "x.Transformer", "path": "../x"}]', b"\xff"]
)
def test_a_damaged_list_of_modules_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "modules.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"modules\.json"):
        read_pooling(tmp_path, 64)


def test_an_export_obeys_files_and_options_or_refuses_them(tmp_path: Path) -> None:
    body, stored = oracle.random_body("gemma3_text", sliding_window=24)
    folder = oracle.save_body(tmp_path / "c", body, stored)
    checkpoint = open_checkpoint(folder)
    found = notes(checkpoint, None)
    assert "the last one is taken" in found[0]
    assert "texts may have 24 tokens, the sliding_window" in found[1]
    assert len(notes(checkpoint, "mean")) == 1
    oracle.write_modules(folder, "mean_tokens", normalize=False)
    assert chosen_pooling(checkpoint, None) == Pooling("mean", normalize=False)
    found_pooling = chosen_pooling(checkpoint, "last")
    assert found_pooling is not None
    assert found_pooling[:2] == ("last", False)
    for options, what in (
        ({"pooling": "cls"}, "pooling is 'cls', expected one of: last, mean"),
        ({"context_length": 25}, "context_length is 25, expected at most sliding_window 24"),
        ({"context_length": 0}, "context_length is 0"),
        ({"head": "two-step"}, "a network that embeds texts has no head"),
        ({"kv_cache": "int8"}, "has no cache"),
        ({"linears": "bf16"}, "expected one of: ternary"),
    ):
        with pytest.raises(ConfigError, match=what):
            bitnet_onnx.export(checkpoint, tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


IDS = torch.tensor([[5, 9, 40, 2, 3]])


def vector(source: Path) -> torch.Tensor:
    with torch.no_grad():
        return BitNetEmbedding.from_checkpoint(open_checkpoint(source))(IDS)


@pytest.mark.parametrize(
    ("kind", "form", "how"),
    [
        ("qwen3", "packed", {"mode": "mean_tokens", "normalize": False, "max_seq_length": 20}),
        ("qwen3", "gguf", {"mode": "mean_tokens"}),
        ("gemma3_text", "packed", {"mode": "lasttoken"}),
    ],
)
def test_a_conversion_keeps_the_vectors_and_the_pooling(
    tmp_path: Path, kind: str, form: str, how: dict[str, Any]
) -> None:
    body, stored = oracle.random_body(kind, intermediate_size=128)
    folder = oracle.save_body(tmp_path / "c", body, stored)
    oracle.write_modules(folder, **how)
    made = convert(folder, tmp_path / f"p.{form}", to=form)
    found, expected = open_checkpoint(made), open_checkpoint(folder)
    assert (found.packed, expected.packed) == (True, False)
    assert found.pooling == expected.pooling
    assert torch.equal(vector(made), vector(folder))
    network = BitNetEmbedding.from_checkpoint(expected)
    with pytest.raises(ConfigError, match="no pooling is given for this"):
        save_packed(tmp_path / "s", expected.config, network.state_dict())
    saved = save_packed(
        tmp_path / "s", expected.config, network.state_dict(), pooling=network.pooling
    )
    assert open_checkpoint(saved).pooling == expected.pooling
    names = set(load_file(saved / "model.safetensors"))
    assert {"embed_tokens.weight", "layers.0.mlp.up_proj.norm.weight"} <= names
    assert torch.nn.functional.cosine_similarity(vector(saved), vector(folder)) > 0.999


@pytest.mark.parametrize(
    ("kind", "changes", "how", "what"),
    [
        ("gemma3_text", {}, {}, "Gemma3TextModel of this network has no place in GGUF"),
        ("qwen3", {}, {"normalize": False}, "vectors of this network are not normalized"),
        ("qwen3", {"norms": False}, {}, "there are no norms inside linears, expected norms of"),
        ("qwen3", {"eps": 3e-6}, {}, "there are norms of eps 3e-06 inside linears"),
        (
            "qwen3",
            {"prompts": {"q": "query: "}},
            {},
            "transformers.json has no place in",
        ),
    ],
)
def test_what_gguf_cannot_hold_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any], how: dict[str, Any], what: str
) -> None:
    body, stored = oracle.random_body(kind, norms=changes.get("norms", True), intermediate_size=128)
    eps = {"use_rms_norm": True, "rms_norm_eps": changes["eps"]} if "eps" in changes else {}
    section = {**oracle.ONLINE, **eps}
    folder = oracle.save_body(tmp_path / "c", body, stored, quantization_config=section)
    oracle.write_modules(folder, "lasttoken", **how)
    if "prompts" in changes:
        (folder / PROMPTS).write_text(json.dumps({"prompts": changes["prompts"]}))
    with pytest.raises(BitNetError, match=what):
        convert(folder, tmp_path / "m.gguf", to="gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_a_gguf_file_holds_how_long_a_text_may_be(tmp_path: Path) -> None:
    folder = oracle.save_body(tmp_path / "c", *oracle.random_body("qwen3", intermediate_size=128))
    oracle.write_modules(folder, "lasttoken", max_seq_length=20)
    made = open_checkpoint(convert(folder, tmp_path / "m.gguf", to="gguf"))
    assert made.config.max_position_embeddings == 20


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"prompts": {"q": 1}}, "prompts is {'q': 1}, expected texts by name"),
        ({"prompts": ["query: "]}, r"prompts is \['query: '\], expected texts by name"),
        ({"default_prompt_name": "q"}, "default_prompt_name is 'q', expected the name of a prompt"),
        ({"prompts": {"q": "a"}, "default_prompt_name": ["q"]}, r"default_prompt_name is \['q'\]"),
        ([], "holds a JSON list, expected an object"),
    ],
)
def test_prompts_are_refused_before_they_reach_an_artifact(
    tmp_path: Path, content: Any, what: str
) -> None:
    folder = oracle.save_body(tmp_path / "c", *oracle.random_body("qwen3"))
    (folder / PROMPTS).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=what):
        export(folder, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_network_that_generates_has_no_pooling(tmp_path: Path) -> None:
    source = open_checkpoint(checkpoints.make(tmp_path / "c"))
    with pytest.raises(ConfigError, match="pooling is 'last' for this 'bitnet', expected none"):
        save_packed(tmp_path / "s", source.config, {}, pooling=Pooling("last"))


def test_another_pooling_than_that_of_the_files_is_said(tmp_path: Path) -> None:
    body, stored = oracle.random_body("qwen3")
    folder = oracle.save_body(tmp_path / "c", body, stored)
    checkpoint = open_checkpoint(folder)
    assert notes(checkpoint, "mean") == []
    oracle.write_modules(folder, "mean_tokens")
    assert notes(checkpoint, None) == notes(checkpoint, "mean") == []
    said = "the checkpoint says the pooling mean, and last is asked for"
    assert notes(checkpoint, "last") == [said]


def test_pooling_is_refused_for_a_network_with_a_head(tmp_path: Path) -> None:
    checkpoints.make(tmp_path / "c")
    with pytest.raises(ConfigError, match="has a head, expected a network that embeds"):
        bitnet_onnx.export(tmp_path / "c", tmp_path / "a", pooling="mean")
