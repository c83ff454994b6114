"""Contrastive search and DoLa in sessions of an artifact: the ids of the reference network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitnet_onnx.cli.main import main
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime.hidden import Layers
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.artifacts import configured
from tests.support.text.fakes import FakeSession

PROMPTS = [[17, 3, 88, 40, 5], [61, 29, 94], [8]]
WAYS: list[dict[str, Any]] = [
    {"penalty_alpha": 0.6, "top_k": 4},
    {"penalty_alpha": 0.9, "top_k": 3, "repetition_penalty": 1.2},
    {"dola_layers": "low"},
    {"dola_layers": [0, 1], "repetition_penalty": 1.2},
]


class Reference(FakeSession):
    """A session that computes each step of the reference network anew, from all ids of a row."""

    def __init__(self, folder: Path, context: int) -> None:
        self.network = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
        config = self.network.config
        super().__init__(config.vocab_size, context)
        self.layers = Layers(config.num_hidden_layers, config.tie_word_embeddings)

    def _run(self, ids: Sequence[int]) -> Any:
        with torch.no_grad():
            return self.network(torch.tensor([ids]), output_hidden_states=True)

    def _append(self, row: int, *ids: int) -> None:
        self.cache[row] += ids
        self._logits[row] = self._run(self.cache[row]).logits[0, -1].numpy()

    def _states(self, ids: Sequence[int]) -> np.ndarray:
        return np.stack([state[0, -1].numpy() for state in self._run(ids).hidden_states])

    def early_logits(self, layers: Sequence[int]) -> np.ndarray:
        states = self.hidden_states[list(layers), :, 0].astype(np.float64)
        return (states @ self.network.head_weight.detach().double().numpy().T).astype(np.float32)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return checkpoints.exported(tmp_path_factory, **checkpoints.HIDDEN)


@pytest.mark.parametrize("values", WAYS)
def test_ids_are_those_of_the_reference(values: dict[str, Any], pair: tuple[Path, Path]) -> None:
    config = GenerationConfig(**values, max_new_tokens=8)
    expected = generate(Reference(pair[0], 64), PROMPTS, config)
    for cache in ("dynamic", "static", "sink"):
        with Session(pair[1], threads=1, cache=cache) as session:
            found = generate(session, PROMPTS, config)
            assert [result.ids for result in found] == [result.ids for result in expected]
            for prompt, result in zip(PROMPTS, expected, strict=True):
                assert list(stream(session, prompt, config)) == result.ids


@pytest.mark.parametrize("values", WAYS[::2])
def test_a_sink_cache_goes_on_behind_the_context(
    values: dict[str, Any], pair: tuple[Path, Path]
) -> None:
    config = GenerationConfig(**values, max_new_tokens=100, eos_token_id=())
    with Session(pair[1], threads=1) as session:
        (full,) = generate(session, PROMPTS[:1], config)
        assert full.finish_reason == "length"
    with Session(pair[1], threads=1, cache="sink") as session:
        (result,) = generate(session, PROMPTS[:1], config)
        assert result.ids[: len(full.ids)] == full.ids
        assert len(result.ids) == 100 > len(full.ids)
        long = [*PROMPTS[0], *result.ids]  # a prompt that slides while it is read
        (more,) = generate(session, [long], config)
        assert len(more.ids) == 100


def test_the_command_obeys_its_options_and_the_file(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = configured(pair[1], tmp_path / "a", {"penalty_alpha": 0.6, "top_k": 4})
    (artifact / "tokenizer.json").unlink()  # it is a dummy
    manifest = json.loads((artifact / "manifest.json").read_text())
    del manifest["files"]["tokenizer.json"]
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    command = ["generate", str(artifact), "--prompt-ids", "17,3,88", "--format", "ids"]
    plain = ("--ignore-generation-config", "--dola-layers")
    with Session(artifact, threads=1) as session:
        for options, values in (
            ((), WAYS[0]),
            (("--penalty-alpha", "0.9", "--top-k=3", "--repetition-penalty", "1.2"), WAYS[1]),
            ((*plain, "low"), WAYS[2]),
            ((*plain, "0,1", "--repetition-penalty", "1.2"), WAYS[3]),
        ):
            assert main([*command, "--max-new-tokens", "6", *options]) == 0
            found = [int(part) for part in capsys.readouterr().out.split(",")]
            config = GenerationConfig(**values, max_new_tokens=6)
            assert found == generate(session, [[17, 3, 88]], config)[0].ids
