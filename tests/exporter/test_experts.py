"""Artifacts of mixtures of experts compute what transformers' GraniteMoe computes, step by step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.granite import networks as granite
from tests.support.granite.networks import SHARED, VARIANTS
from tests.support.oracle_networks import ids_of

EVERY = [*VARIANTS, "shared"]
# Each costs an export: all of them with BITNET_ONNX_SHAPES=every.
SHAPES = EVERY if os.environ.get("BITNET_ONNX_SHAPES") == "every" else EVERY[::4]
STEPS = 64
EXPERTS = {"bf16": "Bf16Experts", "float32": "FloatExperts", "int8": "Int8Experts"}


def near(found: Any, expected: torch.Tensor, bound: float = 1e-5) -> bool:
    return float((torch.as_tensor(found) - expected).abs().max()) <= bound * float(
        expected.abs().max()
    )


@torch.no_grad()
def same_steps(session: Session, theirs: Any, steps: int = STEPS) -> None:
    """Feed two rows of different length, then both the choices of transformers."""
    prompts = [ids_of(length, seed=length, vocab=97) for length in (9, 4)]
    session.reset(2)
    caches = [None, None]
    for step in range(steps):
        if step == 0:
            found = session.prefill_rows([prompt[0].tolist() for prompt in prompts])
        else:
            found = session.decode([int(prompt) for prompt in prompts])
        for row in range(2):
            output = theirs(prompts[row], cache=caches[row], use_cache=True)
            caches[row], expected = output.cache, output.logits[0, -1]
            assert near(found[row], expected)
            assert int(found[row].argmax()) == int(expected.argmax())
            random = ids_of(1, seed=2 * step + row, vocab=97)  # random networks repeat themselves
            prompts[row] = random if step % 4 == 3 else expected.argmax().view(1, 1)


@pytest.mark.parametrize("name", EVERY)
def test_an_artifact_computes_what_transformers_computes(tmp_path: Path, name: str) -> None:
    theirs = granite.draw(**(SHARED if name == "shared" else VARIANTS[name]))
    export(granite.save(theirs, tmp_path / "c"), tmp_path / "a")
    same_steps(Session(tmp_path / "a", threads=1), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_without_the_library_it_is_the_same(tmp_path: Path, name: str) -> None:
    theirs = granite.draw(**(SHARED if name == "shared" else VARIANTS[name]))
    export(granite.save(theirs, tmp_path / "c"), tmp_path / "a")
    same_steps(Session(tmp_path / "a", threads=1, custom_ops=False), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_the_stock_target_computes_it_too(tmp_path: Path, name: str) -> None:
    theirs = granite.draw(**(SHARED if name == "shared" else VARIANTS[name]))
    export(granite.save(theirs, tmp_path / "c"), tmp_path / "a", target="stock")
    same_steps(Session(tmp_path / "a", threads=1), theirs)


@pytest.mark.parametrize("target", ["native", "stock"])
@pytest.mark.parametrize("linears", EXPERTS)
def test_float_experts_are_stored_as_asked(tmp_path: Path, linears: str, target: str) -> None:
    theirs = granite.draw()
    folder = granite.save(theirs, tmp_path / "c")
    artifact = Artifact.open(export(folder, tmp_path / "a", linears=linears, target=target))
    assert artifact.linears == linears
    graph = ir.load(artifact.model_path).graph
    nodes = [node for node in graph if node.op_type == EXPERTS[linears]]
    assert len(nodes) == (2 if target == "native" else 0)
    ids = ids_of(9, seed=5, vocab=97)
    with torch.no_grad():
        expected = theirs(ids).logits[0, -1]
    found = Session(artifact, threads=1).prefill(ids[0].tolist())
    assert near(found, expected, 2e-2 if linears == "int8" else 1e-5)
    assert near(found, expected) == (linears != "int8")


def test_float32_weights_are_kept(tmp_path: Path) -> None:
    """By default nothing is rounded: bfloat16 does not hold these weights."""
    theirs = granite.draw()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter *= 1.0001
    folder = granite.save(theirs, tmp_path / "c", torch.float32)
    artifact = Artifact.open(export(folder, tmp_path / "a"))
    assert (artifact.linears, artifact.head) == ("float32", "float32")
    same_steps(Session(artifact, threads=1), theirs, 8)


def masters(folder: Path, **changes: Any) -> Path:
    """Save the masters of a network with ternary experts."""
    path = granite.save(granite.draw(**changes), folder) / "config.json"
    section = {"quant_method": "bitnet", "linear_class": "autobitlinear"}
    section["quantization_mode"] = "online"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": section}))
    return folder


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, SHARED, VARIANTS["5 experts, all of them"]])
def test_ternary_experts_are_one_node_a_layer(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Torch, the library and the function bodies give the same numbers."""
    folder = masters(tmp_path / "c", **changes)
    artifact = Artifact.open(export(folder, tmp_path / "a"))
    assert artifact.linears == "ternary"
    nodes = [n for n in ir.load(artifact.model_path).graph if n.op_type == "TernaryExperts"]
    assert len(nodes) == 2
    network = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    sessions = [Session(artifact, threads=1, custom_ops=library) for library in (True, False)]
    past, ids = None, ids_of(9, seed=5, vocab=97)
    for _ in range(16):
        result = network(ids, past_key_values=past)
        past, expected = result.past_key_values, result.logits[0, -1]
        first, second = (session.prefill(ids[0].tolist()) for session in sessions)
        assert (first == second).all()
        assert near(first, expected, 1e-6)
        ids = expected.argmax().view(1, 1)


@pytest.mark.parametrize("target", ["native", "stock"])
def test_verify_knows_experts(tmp_path: Path, target: str) -> None:
    folder = masters(tmp_path / "c")
    artifact = export(folder, tmp_path / "a", target=target)
    (found,) = verify(folder, artifact, [[1, 2, 3, 4]], 12)
    assert found.agrees
    with pytest.raises(ConfigError, match="transformers computes with float experts"):
        verify(folder, artifact, [[1, 2]], 2, against="transformers")


@pytest.mark.parametrize("against", ["torch", "transformers"])
def test_verify_knows_float_experts(tmp_path: Path, against: str) -> None:
    folder = granite.save(granite.draw(), tmp_path / "c")
    (found,) = verify(folder, export(folder, tmp_path / "a"), [[1, 2, 3]], 12, against=against)
    assert found.agrees
    assert found.same_ids_as_is == 12
