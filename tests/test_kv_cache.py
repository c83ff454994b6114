"""An artifact whose keys and values are kept as float16: the same network, with a smaller cache."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
import torch

from bitnet_onnx import session as session_module
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.checkpoint import open_checkpoint
from bitnet_onnx.cli import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.export import export
from bitnet_onnx.generate import generate
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.reference import load_reference
from bitnet_onnx.session import Session
from bitnet_onnx.verify import default_prompts, verify

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8]
TARGETS = ("native", "stock")
Folders = dict[str, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The checkpoint, its artifact with a float32 cache, and those with a float16 one by target."""
    folder = tmp_path_factory.mktemp("kv_cache")
    source = checkpoints.make(folder / "checkpoint", **checkpoints.TIED)
    made = {"checkpoint": source, "float32": export(source, folder / "float32")}
    for target in TARGETS:
        made[target] = export(source, folder / target, target=target, kv_cache="float16")
    return made


@torch.no_grad()
def of_torch(folders: Folders, dtype: torch.dtype) -> np.ndarray:
    network = load_reference(open_checkpoint(folders["checkpoint"]), "torch", "bf16")
    assert isinstance(network, BitNetForCausalLM)
    cache = network.empty_cache(dtype)
    return np.asarray(network(torch.tensor([IDS]), past_key_values=cache).logits[0].numpy())


@pytest.mark.parametrize("target", TARGETS)
def test_what_goes_in_and_comes_out_is_float16(folders: Folders, target: str) -> None:
    graph = onnx.load(folders[target] / "model.onnx", load_external_data=False).graph
    for value in (*graph.input, *graph.output):
        half = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        assert half == value.name.startswith(("past_key_values.", "present.")), value.name


def test_the_cache_takes_half_the_memory(folders: Folders) -> None:
    sizes = {}
    for name in ("float32", "native"):
        session = Session(folders[name], threads=1)
        session.prefill(IDS)
        sizes[name] = sum(buffer.nbytes for buffer in session._cache)
    assert sizes["float32"] == 2 * sizes["native"] > 0


@pytest.mark.parametrize("target", TARGETS)
def test_logits_are_those_of_torch_with_a_float16_cache(folders: Folders, target: str) -> None:
    found = torch.from_numpy(Session(folders[target], threads=1).score(IDS))
    expected, unrounded = (of_torch(folders, dtype) for dtype in (torch.float16, torch.float32))
    assert checkpoints.close(found, torch.from_numpy(expected), 1e-5)
    # Were the cache not rounded there, the bound would be out of reach.
    assert np.abs(expected - unrounded).max() > 1e-4 * np.abs(unrounded).max()


@pytest.mark.parametrize("target", TARGETS)
def test_in_pieces_it_is_the_same_as_in_one_call(
    folders: Folders, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(folders[target], threads=1)
    whole, pieces = session.score(IDS), Session(folders[target], threads=1)
    found = [*pieces.score(IDS[:4]), *(pieces.decode([i])[0].copy() for i in IDS[4:6])]
    monkeypatch.setattr(session_module, "PREFILL_CHUNK", 3)
    np.testing.assert_array_equal([*found, *pieces.score(IDS[6:])], whole)


def test_without_the_library_the_ids_are_the_same(folders: Folders) -> None:
    prompts = [IDS[:1], IDS[:5], IDS]
    plain = Session(folders["native"], threads=1, custom_ops=False)
    for prompt in (*([p] for p in prompts), prompts):  # one by one and as a batch
        expected = generate(Session(folders["native"], threads=1), prompt, max_new_tokens=16)
        found = generate(plain, prompt, max_new_tokens=16)
        assert [done.ids for done in found] == [done.ids for done in expected]


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_verified_against_a_reference_that_rounds_the_same(
    folders: Folders, target: str
) -> None:
    checkpoint, artifact = open_checkpoint(folders["checkpoint"]), Artifact.open(folders[target])
    for result in verify(checkpoint, artifact, default_prompts(artifact.vocab_size), 8):
        assert result.agrees
        assert result.same_ids == result.steps
        assert result.free <= 1e-5
    with pytest.raises(ConfigError, match="transformers would as float32") as caught:
        verify(checkpoint, artifact, [IDS], 1, against="transformers")
    assert caught.value.hint == "compare with --against torch"


def test_an_unknown_type_is_refused(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(folders["checkpoint"]), "-o", str(tmp_path / "a")]
    assert main([*command, "--kv-cache", "int8"]) == 2
    error = capsys.readouterr().err
    assert error == "error: kv_cache is 'int8', expected one of: float32, float16\n"
    assert not (tmp_path / "a").exists()
