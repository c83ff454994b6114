"""Artifacts with a float16, int8 or int4 cache: the same network with a smaller cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.bench.breakdown import breakdown
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.options import KV_CACHES
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime import steps as steps_module
from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import default_prompts, verify
from bitnet_onnx.verification.reference import load_reference
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.sessions import scores

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8]
# The type of the cache, and the target, by the folder's name.
SMALL = {"native": "float16", "stock": "float16", "int8": "int8", "int4": "int4"}
TARGETS = {"native": "native", "stock": "stock", "int8": "native", "int4": "native"}
ELEMENTS = {
    "float16": onnx.TensorProto.FLOAT16,
    "int8": onnx.TensorProto.INT8,
    "int4": onnx.TensorProto.UINT8,
}
SCALED = ("int8", "int4")
Folders = dict[str, Path]
small = pytest.mark.parametrize("name", SMALL)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Make a checkpoint, its artifact with a float32 cache, and artifacts with smaller caches."""
    folder = tmp_path_factory.mktemp("kv_cache")
    source = checkpoints.make(folder / "checkpoint", **checkpoints.TIED)
    made = {"checkpoint": source, "float32": export(source, folder / "float32")}
    for name, cache in SMALL.items():
        made[name] = export(source, folder / name, target=TARGETS[name], kv_cache=cache)
    return made


@torch.no_grad()
def of_torch(folders: Folders, dtype: torch.dtype) -> np.ndarray:
    network = load_reference(open_checkpoint(folders["checkpoint"]), "torch", "bf16")
    assert isinstance(network, BitNetForCausalLM)
    cache = network.empty_cache(dtype)
    return np.asarray(network(torch.tensor([IDS]), past_key_values=cache).logits[0].numpy())


@small
def test_cache_inputs_and_outputs_have_the_type_of_the_cache(folders: Folders, name: str) -> None:
    graph = onnx.load(folders[name] / "model.onnx", load_external_data=False).graph
    kept = 0
    for value in (*graph.input, *graph.output):
        cache = value.name.startswith(("past_key_values.", "present."))
        codes = cache and not value.name.endswith("_scale")
        element = value.type.tensor_type.elem_type
        assert (element == ELEMENTS[SMALL[name]]) == codes, value.name
        if cache and not codes:
            assert element == onnx.TensorProto.FLOAT
            assert len(value.type.tensor_type.shape.dim) == 3
        kept += cache
    assert kept == 2 * 2 * (4 if name in SCALED else 2)  # inputs and outputs of two layers
    assert Artifact.open(folders[name]).kv_cache == SMALL[name]


def test_the_cache_takes_less_memory(folders: Folders) -> None:
    sizes = {}
    for name in ("float32", "native", *SCALED):
        session = Session(folders[name], threads=1)
        session.prefill(IDS)
        artifact = session.artifact
        sizes[name] = session.position_bytes / (2 * artifact.num_key_value_heads)
        cache = session._steps.cache
        total = sum(buffer.nbytes for buffer in cache.buffers.values())
        assert session.position_bytes * cache.capacity * artifact.num_hidden_layers == total
    assert session.artifact.head_dim == 16  # half of a block of int4
    assert sizes == {"float32": 64, "native": 32, "int8": 16 + 4, "int4": 17 + 4}


@small
def test_logits_are_those_of_torch_with_the_same_cache(folders: Folders, name: str) -> None:
    found = torch.from_numpy(scores(Session(folders[name], threads=1), IDS))
    expected, unrounded = (of_torch(folders, KV_CACHES[kind]) for kind in (SMALL[name], "float32"))
    assert checkpoints.close(found, torch.from_numpy(expected), 1e-5)
    # A reference with an unrounded cache would miss the bound.
    assert np.abs(expected - unrounded).max() > 1e-4 * np.abs(unrounded).max()


@small
def test_a_prompt_in_pieces_gives_the_same_logits(
    folders: Folders, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(folders[name], threads=1)
    whole, pieces = scores(session, IDS), Session(folders[name], threads=1)
    found = [*scores(pieces, IDS[:4]), *(pieces.decode([i])[0].copy() for i in IDS[4:6])]
    monkeypatch.setattr(steps_module, "CHUNK", 3)
    np.testing.assert_array_equal([*found, *scores(pieces, IDS[6:])], whole)


@pytest.mark.parametrize("name", ["native", *SCALED])
def test_without_the_library_the_ids_are_the_same(folders: Folders, name: str) -> None:
    prompts = [IDS[:1], IDS[:5], IDS]
    plain = Session(folders[name], threads=1, custom_ops=False)
    for prompt in (*([p] for p in prompts), prompts):  # one by one, then as a batch
        expected = generate(
            Session(folders[name], threads=1), prompt, GenerationConfig(max_new_tokens=16)
        )
        found = generate(plain, prompt, GenerationConfig(max_new_tokens=16))
        assert [done.ids for done in found] == [done.ids for done in expected]


@pytest.mark.parametrize("name", SCALED)
def test_rows_survive_growth_truncation_and_reset(
    folders: Folders, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes and scales stay right in a batch whose cache grows, after truncate, after reset."""
    monkeypatch.setattr(growing, "BLOCK", 4)
    session, alone = (Session(folders[name], threads=1) for _ in range(2))
    expected = scores(alone, IDS)
    session.reset(batch_size=2)
    session.prefill(IDS[:3], row=0)
    np.testing.assert_array_equal(scores(session, IDS, row=1), expected)  # grows the cache
    session.truncate(5, row=1)
    np.testing.assert_array_equal(scores(session, IDS[5:], row=1), expected[5:])
    session.truncate(3, row=1)
    np.testing.assert_array_equal(session.decode([IDS[3], IDS[3]]), expected[[3, 3]])
    session.reset()
    np.testing.assert_array_equal(scores(session, IDS), expected)


@small
def test_verify_uses_a_reference_that_rounds_its_cache_too(folders: Folders, name: str) -> None:
    checkpoint, artifact = open_checkpoint(folders["checkpoint"]), Artifact.open(folders[name])
    for result in verify(checkpoint, artifact, default_prompts(artifact.vocab_size), 8):
        assert result.agrees
        assert result.same_ids_as_is == result.steps
        assert result.difference_as_is <= 1e-5
    with pytest.raises(
        ConfigError, match=f"as {SMALL[name]}, expected float32 as in transformers"
    ) as caught:
        verify(checkpoint, artifact, [IDS], 1, against="transformers")
    assert caught.value.hint == "compare with --against torch"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--kv-cache", "int2"],
            "kv_cache is 'int2', expected one of: float32, float16, int8, int4",
        ),
        *(
            (
                ["--kv-cache", name, "--target", "stock"],
                f"kv_cache is '{name}', which only the custom operator makes exact and fast",
            )
            for name in SCALED
        ),
    ],
)
def test_an_unsupported_cache_is_refused(
    folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    command = ["export", str(folders["checkpoint"]), "-o", str(tmp_path / "a"), *arguments]
    assert main(command) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"error: {sentence}"
    assert not (tmp_path / "a").exists()


def test_heads_too_wide_for_integers_are_refused(tmp_path: Path) -> None:
    source = checkpoints.make(tmp_path / "c", hidden=1032, heads=2)
    for name in SCALED:
        sentence = f"head_dim is 516, expected at most 512 with {name} caches"
        with pytest.raises(ConfigError, match=sentence):
            export(source, tmp_path / "a", kv_cache=name)


def test_a_cache_of_integers_gets_no_genai_config(folders: Folders) -> None:
    for file in ("genai_config.json", "model_last.onnx"):
        written = {name: (folders[name] / file).exists() for name in folders}
        assert not any(written.pop(name) for name in SCALED)
        assert not written.pop("checkpoint")
        assert all(written.values())


@pytest.mark.parametrize(("name", "codes"), [("int8", 16), ("int4", 17)])
def test_a_breakdown_counts_codes_and_scales(folders: Folders, name: str, codes: int) -> None:
    artifact = Artifact.open(folders[name])
    costs = {cost.operator: cost for cost in breakdown(artifact, threads=1, context=4).costs}
    attention = costs[f"GroupQueryAttention{name.title()}QKV"]
    row = artifact.num_key_value_heads * (codes + 4)
    assert attention.bytes == attention.calls * (4 + 12) * 2 * row
