"""Texts -> vectors: ids, prompts, dimensions, and what is refused."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import bitnet_onnx
from bitnet_onnx.embedding.model import EmbeddingModel, unit
from bitnet_onnx.errors import ArtifactError, BitNetError, GenerationError, SessionError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.runtime.vectors import VectorSession
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.embedding import networks as oracle
from tests.support.embedding.texts import PROMPTS, write_prompts, write_tokenizer

TEXTS = ["Ternary weights", "a", "An answer to everything is 42", "xyz!"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    body, stored = oracle.random_body("qwen3", head_dim=16)
    folder = oracle.save_body(tmp_path_factory.mktemp("c") / "c", body, stored)
    oracle.write_modules(folder, "mean_tokens", max_seq_length=48)
    write_tokenizer(folder)
    write_prompts(folder)
    return folder


@pytest.fixture(scope="module")
def artifact(checkpoint: Path) -> Path:
    return bitnet_onnx.export(checkpoint, checkpoint.parent / "a")


@pytest.fixture(scope="module")
def model(artifact: Path) -> Iterator[EmbeddingModel]:
    with bitnet_onnx.load(artifact, threads=1) as loaded:
        assert isinstance(loaded, EmbeddingModel)
        yield loaded


def test_the_manifest_says_what_the_checkpoint_says(artifact: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    found = {name: manifest[name] for name in ("task", "pooling", "normalize", "network")}
    assert found == {
        "task": "embedding",
        "pooling": "mean",
        "normalize": True,
        "network": "qwen3_embedding",
    }
    assert manifest["context_length"] == 48
    assert {"tokenizer.json", "config_sentence_transformers.json"} <= set(manifest["files"])
    assert not {"genai_config.json", "chat.json", "model_last.onnx"} & set(manifest["files"])


def test_vectors_are_unit_rows_of_the_texts_ids(model: EmbeddingModel) -> None:
    vectors = model.embed(TEXTS)
    assert vectors.shape == (4, 64)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    ids = [model.ids(text) for text in TEXTS]
    assert all(each[-1] == 1 for each in ids)
    np.testing.assert_array_equal(model.embed(ids), vectors)
    np.testing.assert_array_equal(model.embed([np.array(ids[0])]), vectors[:1])
    for size in (1, 3):
        np.testing.assert_array_equal(model.embed(TEXTS, batch_size=size), vectors)
    np.testing.assert_array_equal(model.embed(TEXTS[2]), vectors[2:3])
    assert model.embed([]).shape == (0, 64)


@pytest.mark.parametrize("eos", ["template", "flag", "none"])
def test_ids_are_those_of_transformers(tmp_path: Path, eos: str) -> None:
    """The eos at the end included, where the tokenizer adds one."""
    transformers = pytest.importorskip("transformers", minversion="5.0")
    write_tokenizer(tmp_path, eos)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.from_folder(tmp_path)
    for text in [*TEXTS, "", "<eos>", "say <eos> and <pad>"]:
        assert ours.encode_whole(text) == theirs(text)["input_ids"]


def test_a_prompt_goes_before_the_text(model: EmbeddingModel) -> None:
    plain = model.embed(["find: it"])
    np.testing.assert_array_equal(model.embed(["it"], prompt_name="query"), plain)
    np.testing.assert_array_equal(model.embed(["find: it"], prompt_name="document"), plain)
    assert model.prompts.texts == PROMPTS


def test_a_default_prompt_is_used_where_none_is_named(artifact: Path, tmp_path: Path) -> None:
    folder = changed(artifact, tmp_path, "config_sentence_transformers.json", default="query")
    with bitnet_onnx.load(folder, threads=1) as model:
        asked = model.embed(["it"])
        np.testing.assert_array_equal(asked, model.embed(["it"], prompt_name="query"))
        assert not np.array_equal(asked, model.embed(["it"], prompt_name="document"))


def changed(artifact: Path, tmp_path: Path, name: str, **changes: Any) -> Path:
    """Copy an artifact with another file of prompts, and a manifest that agrees."""
    folder = shutil.copytree(artifact, tmp_path / "changed")
    write_prompts(folder, **changes)
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / name).read_bytes()
    from hashlib import sha256

    manifest["files"][name] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("count", [1, 7, 63])
def test_fewer_dimensions_are_cut_and_normalized_again(model: EmbeddingModel, count: int) -> None:
    whole = model.embed(TEXTS).astype(np.float64)[:, :count]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    found = model.embed(TEXTS, dimensions=count)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_array_equal(model.embed(TEXTS, dimensions=64), model.embed(TEXTS))


def test_padding_on_either_side_changes_no_bit(artifact: Path, model: EmbeddingModel) -> None:
    """For clients that feed the graph themselves."""
    session = model._session._runtime
    ids = [model.ids(text) for text in TEXTS]
    width = max(map(len, ids)) + 3
    for left in (False, True):
        fed = np.full((len(ids), width), 7, np.int64)
        mask = np.zeros_like(fed)
        for row, each in enumerate(ids):
            place = slice(width - len(each), width) if left else slice(0, len(each))
            fed[row, place], mask[row, place] = each, 1
        found, only_token = session.run(None, {"input_ids": fed, "attention_mask": mask})
        np.testing.assert_array_equal(found, model.embed(TEXTS))
        np.testing.assert_array_equal(only_token, found[:, None])
    assert ort.get_available_providers()


def test_many_texts_of_all_lengths_have_the_bits_of_single_ones(model: EmbeddingModel) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.choice([1, 2, 5, 15, 16, 17, 33, 47, 48], 120)
    texts = [rng.integers(0, 96, length).tolist() for length in lengths]
    found = model.embed(texts)
    np.testing.assert_array_equal(model.embed(texts[::-1], batch_size=7), found[::-1])
    alone = np.concatenate([model.embed([text]) for text in texts[:40]])
    np.testing.assert_array_equal(alone, found[:40])
    np.testing.assert_array_equal(model.embed(["", "a"])[:1], model.embed(""))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"texts": None}, "the texts are None, expected a list"),
        ({"texts": ["a", 3]}, "token ids are 3, expected a sequence"),
        ({"texts": [[]]}, "text 0 has no tokens"),
        ({"texts": [[1, 96]]}, "token id 96 is outside the vocabulary"),
        ({"texts": ["b", "a" * 48]}, "text 1 has 49 tokens, expected at most the context of 48"),
        ({"prompt_name": "nothing"}, "prompt_name is 'nothing', expected one of: 'query', 'docu"),
        ({"texts": [[1]], "prompt_name": "query"}, "prompt_name is 'query' with token ids"),
        ({"dimensions": 0}, "dimensions is 0, expected 1 to 64"),
        ({"dimensions": 65}, "dimensions is 65, expected 1 to 64"),
        ({"dimensions": 2.0}, "dimensions is 2.0, expected an integer"),
        ({"batch_size": 0}, "batch_size is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    model: EmbeddingModel, arguments: dict[str, Any], what: str
) -> None:
    with pytest.raises(GenerationError, match=what):
        model.embed(**{"texts": ["a"], **arguments})
    assert len(model.embed(["a"])) == 1


def test_an_artifact_for_one_task_refuses_the_other(
    artifact: Path, model: EmbeddingModel, demo_artifact: Path
) -> None:
    for name in ("generate", "chat", "stream", "score"):
        with pytest.raises(GenerationError, match=f"embeds texts, expected .* for {name}"):
            getattr(model, name)("Hello")
        assert not hasattr(model, name)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        model.other  # noqa: B018
    with pytest.raises(ArtifactError, match="is for embedding, expected an artifact for text-gen"):
        Session(artifact)
    with pytest.raises(ArtifactError, match="is for text-generation, expected an artifact for emb"):
        VectorSession(demo_artifact)
    with pytest.raises(GenerationError, match="generation_config is given, but"):
        bitnet_onnx.load(artifact, generation_config=GenerationConfig())
    with (
        bitnet_onnx.load(demo_artifact, threads=1) as causal,
        pytest.raises(GenerationError, match="generates texts, expected an artifact that embeds"),
    ):
        causal.embed(["a"])


def test_a_closed_or_copied_model_is_refused(artifact: Path) -> None:
    model = bitnet_onnx.load(artifact, threads=1)
    with pytest.raises(SessionError, match="a model cannot be pickled"):
        pickle.dumps(model)
    model.close()
    with pytest.raises(SessionError, match="the session is closed"):
        model.embed(["a"])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"pooling": "none"}, "pooling is 'none' for task 'embedding'"),
        ({"pooling": "cls"}, "pooling is 'cls', expected one of"),
        ({"task": "text-generation"}, "pooling is 'mean' for task 'text-generation'"),
        ({"normalize": 1}, "normalize is 1, expected one of"),
        ({"task": "text-generation", "pooling": "none"}, "but model.onnx"),
    ],
)
def test_a_manifest_of_another_graph_is_refused(
    artifact: Path, tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    folder = shutil.copytree(artifact, tmp_path / "a")
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BitNetError, match=what):
        bitnet_onnx.load(folder, threads=1)


def test_a_zero_vector_stays_zero() -> None:
    assert unit(np.zeros((2, 3), np.float32)).tolist() == [[0.0] * 3] * 2


def test_the_server_gives_the_same_vectors(artifact: Path, model: EmbeddingModel) -> None:
    openai = pytest.importorskip("openai")
    pytest.importorskip("uvicorn")
    from tests.support.serve.serving import served

    expected = model.embed(TEXTS)
    with (
        served({"small": artifact}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
    ):
        ask = client.embeddings.create
        for given in (TEXTS, [model.ids(text) for text in TEXTS]):
            for form in ("float", "base64", openai.omit):
                found = ask(model="small", input=given, encoding_format=form)
                vectors = [entry.embedding for entry in found.data]
                if form == "base64":  # as the client gives what was asked for
                    vectors = [np.frombuffer(base64.b64decode(v), "<f4") for v in vectors]
                assert np.array_equal(np.array(vectors, dtype=np.float32), expected)
        assert found.usage.prompt_tokens == sum(len(model.ids(text)) for text in TEXTS)
        query = ask(model="small", input="a", dimensions=8, extra_body={"prompt_name": "query"})
        assert np.array_equal(
            np.array(query.data[0].embedding, dtype=np.float32), model.embed("a", "query", 8)[0]
        )
        for fields, param in (
            ({"input": "a", "dimensions": 10**6}, "dimensions"),
            ({"input": [[10**6]]}, "input"),
            ({"input": "a" * 100}, "input"),
            ({"input": []}, "input"),
            ({"input": "a", "prompt_name": "none"}, "prompt_name"),
        ):
            found = server.post("/v1/embeddings", fields)
            assert (found.status_code, found.json()["error"]["param"]) == (400, param)
        for named in ({"model": "small"}, {"model": "none"}, {}):
            found = server.post("/v1/completions", {"prompt": "a", **named})
            error = found.json()["error"]
            assert (found.status_code, error["code"]) == (404, "model_not_found")
            assert error["message"].endswith(", and no model of this server can generate text")
