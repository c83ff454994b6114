"""The hidden states of a step: those of transformers' ``output_hidden_states``, and their head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from bitnet_onnx.artifact import HEAD, LAST, MANIFEST, Artifact
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ConfigError, GenerationError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.granite import networks
from tests.support.sessions import scores

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "native": ({}, {}),
    "untied int8": ({"tied": False, "layers": 1}, {"head": "int8", "kv_cache": "int8"}),
    "stock": ({"layers": 1}, {"target": "stock", "head": "int8"}),
}
PROMPTS = [[17, 3, 88, 40, 5], [61, 29, 94]]


class Pair:
    """A checkpoint with the artifact that gives hidden states."""

    def __init__(self, factory: pytest.TempPathFactory, kind: str) -> None:
        self.kind, (sizes, self.options) = kind, KINDS[kind]
        if kind == "native":  # other tests have it, too
            made = checkpoints.exported(factory, **checkpoints.HIDDEN)
            self.checkpoint, self.artifact = made
        else:
            folder, options = factory.mktemp("hidden"), {**self.options, "outputs": "hidden-states"}
            self.checkpoint = checkpoints.make(folder / "c", **sizes)
            self.artifact = export(self.checkpoint, folder / "a", **options)
        self.exact = "target" not in self.options and "head" not in self.options
        self.network = BitNetForCausalLM.from_checkpoint(open_checkpoint(self.checkpoint))

    def expected(self, ids: list[int]) -> np.ndarray:
        """Return the states [layers + 1, S, H] of the reference."""
        with torch.no_grad():
            found = self.network(torch.tensor([ids]), output_hidden_states=True).hidden_states
        assert found is not None
        return torch.cat(found).numpy()

    def same(self, found: np.ndarray, expected: np.ndarray) -> bool:
        if self.exact:
            return np.array_equal(found, expected)
        return found.shape == expected.shape and np.allclose(found, expected, atol=0.3)  # int8


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory, request.param)


def test_they_are_those_of_the_reference_in_every_step(pair: Pair) -> None:
    long, short = PROMPTS
    with Session(pair.artifact, threads=1) as session:
        session.prefill(long)
        states = [pair.expected(ids) for ids in PROMPTS]
        assert pair.same(session.hidden_states[:, 0], states[0][:, -1:])
        session.reset(2)
        session.prefill_rows(PROMPTS)
        for row in range(2):
            assert pair.same(session.hidden_states[:, row], states[row][:, -1:])
        session.decode([9, 11])
        for row, ids in enumerate(([*long, 9], [*short, 11])):
            assert pair.same(session.hidden_states[:, row], pair.expected(ids)[:, -1:])
        session.reset()
        lease = session.claim()
        lease.score(long)
        assert pair.same(lease.hidden_states[:, 0], states[0])


def test_the_head_reads_any_of_them(pair: Pair) -> None:
    table = pair.network.head_weight.detach().double().numpy()
    with Session(pair.artifact, threads=1) as session:
        session.reset(2)
        logits = session.prefill_rows(PROMPTS)
        count = len(session.hidden_states)
        early = session.early_logits(range(count))
        assert early.shape == (count, *logits.shape)
        last = count - 1
        assert np.array_equal(early[last], logits) or "target" in pair.options
        assert np.allclose(early[last], logits, atol=1e-4)
        states = session.hidden_states[:, :, 0].astype(np.float64)
        loose = 0.2 if "head" in pair.options else 1e-4  # an int8 head rounds its table
        assert np.allclose(early, states @ table.T, atol=loose)
        with pytest.raises(GenerationError, match=f"layer is {count}, expected 0 to {last}"):
            session.early_logits([0, count])


@pytest.mark.parametrize("kind", ["native", "stock"])
def test_the_logits_are_the_same_bits_as_without(
    kind: str, pair: Pair, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if pair.kind != kind:
        return
    if kind == "native":  # other tests have it, too
        _, plain = checkpoints.exported(tmp_path_factory, **checkpoints.TIED)
    else:
        plain = export(pair.checkpoint, tmp_path / "plain", **pair.options)
    with Session(plain, threads=1) as without, Session(pair.artifact, threads=1) as session:
        assert np.array_equal(scores(without, PROMPTS[0]), scores(session, PROMPTS[0]))
        assert np.array_equal(without.decode([7]), session.decode([7]))
        assert without.layers is None
        for read in (lambda: without.hidden_states, lambda: without.early_logits([0])):
            with pytest.raises(GenerationError, match="gives no hidden states, expected one that"):
                read()
    assert '"outputs"' not in (plain / MANIFEST).read_text()
    assert HEAD not in Artifact.open(plain).manifest["files"]
    assert HEAD in Artifact.open(pair.artifact).manifest["files"]
    outputs = {value.name for value in onnx.load(pair.artifact / LAST).graph.output}
    assert not any(name.startswith("hidden_states") for name in outputs)


def test_they_belong_to_a_step_and_its_user(pair: Pair) -> None:
    with Session(pair.artifact, threads=1) as session:
        with pytest.raises(GenerationError, match="no step was computed, expected one before"):
            session.early_logits([0])
        lease = session.claim()
        logits, inputs = lease.prefill_states(PROMPTS[0])
        assert pair.same(inputs, pair.expected(PROMPTS[0])[-1])
        assert np.array_equal(lease.early_logits([len(lease.hidden_states) - 1])[0, 0], logits) or (
            "target" in pair.options
        )
        session.reset()
        with pytest.raises(GenerationError, match="no step was computed"):
            _ = session.hidden_states


def test_they_are_those_of_transformers(tmp_path: Path) -> None:
    """A network that multiplies its embedding and divides its logits, as its lm_head does not."""
    theirs = networks.draw(logits_scaling=4.0)
    artifact = export(
        networks.save(theirs, tmp_path / "c"), tmp_path / "a", outputs="hidden-states"
    )
    with torch.no_grad():
        states = theirs(torch.tensor([PROMPTS[0]]), output_hidden_states=True).hidden_states
        early = [theirs.lm_head(state[:, -1]).numpy() for state in states]
    with Session(artifact, threads=1) as session:
        logits = session.prefill(PROMPTS[0])
        found = session.hidden_states[:, 0, 0]
        np.testing.assert_allclose(found, torch.cat(states)[:, -1].numpy(), rtol=1e-4, atol=1e-4)
        mine = session.early_logits(range(len(states)))
        np.testing.assert_allclose(mine, np.stack(early), rtol=1e-4, atol=1e-3)
        assert np.array_equal(mine[-1, 0] / 4, logits)


def test_what_has_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoints.make(tmp_path / "c")
    with pytest.raises(ConfigError, match="outputs is 'attentions', expected one of: logits, hid"):
        export(folder, tmp_path / "a", outputs="attentions")
    command = ["export", str(folder), "-o", str(tmp_path / "a"), "--outputs", "hidden-states"]
    assert main([*command, "--for", "web"]) == 2
    assert "outputs is 'hidden-states' with --for web, expected logits" in capsys.readouterr().err
