"""Networks other than 2B-4T: file -> torch -> artifact -> ids, against transformers in float32.

Tolerance as in test_model.py: with these sizes and seeds no activation sits on a rounding tie,
and what is left is float32 noise, 1e-5 of the largest logit. (Of six seeds for each variant here,
8 of 48 networks met a tie: logits up to 5e-4 apart from there on, the ids still the same.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import oracle_networks as oracle
import pytest
import torch
from checkpoints import close
from oracle_networks import greedy, ids_of
from safetensors.torch import load_file, save_file

from bitnet_onnx.checkpoint import open_checkpoint
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.session import Session

LLAMA: dict[str, tuple[tuple[str, str, bool], dict[str, Any]]] = {
    "bitlinear": (("bitlinear", "offline", False), {}),
    "bitlinear, a norm in each linear": (("bitlinear", "offline", True), {}),
    "autobitlinear": (("autobitlinear", "offline", False), {"tie_word_embeddings": True}),
    "autobitlinear, online": (("autobitlinear", "online", False), {}),
    "autobitlinear, online, norms": (("autobitlinear", "online", True), {}),
    "wide heads": (("bitlinear", "offline", False), {"head_dim": 32}),
    "llama3 rope": (
        ("bitlinear", "offline", False),
        {"head_dim": 32, "rope_parameters": oracle.LLAMA3},
    ),
    "linear rope": (
        ("autobitlinear", "online", False),
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e3}},
    ),
}


def make_llama(folder: Path, variant: str, seed: int = 2) -> Path:
    kind, changes = LLAMA[variant]
    source = oracle.random_llama(oracle.llama_config(**changes), seed)
    return oracle.save(oracle.quantized(source, *kind), folder)


def same(folder: Path, theirs: Any, vocab: int = 96) -> None:
    """Logits of a batch, and greedy ids, of our torch network and of transformers."""
    ours = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    ids = ids_of(13, seed=0, batch=2, vocab=vocab)
    with torch.no_grad():
        assert close(ours(ids).logits, theirs(ids).logits)
    prompt = ids_of(5, seed=3, vocab=vocab)
    assert ours.generate(prompt, 16)[0].tolist() == greedy(theirs, prompt, 16)


def same_ids(folder: Path, theirs: Any, artifact: Path, vocab: int = 96) -> None:
    """Greedy ids of the exported artifact and of transformers, after prompts of two lengths."""
    export(folder, artifact)
    session = Session(artifact, threads=1)
    for length, seed in ((1, 4), (9, 5)):
        prompt = ids_of(length, seed, vocab=vocab)
        session.reset()
        found = prompt[0].tolist()
        found.append(int(session.prefill(found).argmax()))
        for _ in range(15):
            found.append(int(session.decode(found[-1:])[0].argmax()))
        assert found == greedy(theirs, prompt, 16)


@pytest.mark.parametrize("variant", LLAMA)
def test_llama_is_that_of_transformers(tmp_path: Path, variant: str) -> None:
    folder = make_llama(tmp_path / "c", variant)
    same(folder, oracle.load(folder))


@pytest.mark.parametrize("variant", ["bitlinear, a norm in each linear", "llama3 rope"])
def test_a_llama_artifact_gives_the_ids_of_transformers(tmp_path: Path, variant: str) -> None:
    folder = make_llama(tmp_path / "c", variant)
    same_ids(folder, oracle.load(folder), tmp_path / "a")


# ----------------------------------------------------------------- what a LLaMA folder may hold


def edit(folder: Path, **tensors: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", ["equal", "different"])
def test_a_head_beside_tied_embeddings_does_what_transformers_does(
    tmp_path: Path, kind: str
) -> None:
    """As the first upload of 2B-4T had one. transformers ties the two only if they are equal."""
    folder = make_llama(tmp_path / "c", "autobitlinear")
    table = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    edit(folder, **{"lm_head.weight": table.clone() if kind == "equal" else table.flip(0)})
    assert open_checkpoint(folder).config.tie_word_embeddings is (kind == "equal")
    same(folder, oracle.load(folder))


def test_a_rotary_buffer_of_an_older_checkpoint_is_passed_over(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "c", "bitlinear")
    edit(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    open_checkpoint(folder)


def test_float_weights_that_are_not_ternary_are_refused(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj"
    folder = make_llama(tmp_path / "c", "autobitlinear")
    edit(folder, **{f"{name}.weight": torch.full((160, 64), 0.5)})
    with pytest.raises(CheckpointError, match=rf"{name}\.weight is no ternary weight"):
        open_checkpoint(folder).ternary(name)
