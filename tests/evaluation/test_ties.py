"""Ternary networks beside transformers: all that differs is activations on a rounding tie.

Their float32 sums have other orders than ours, so an activation that lies half-way between two int8
codes may be rounded up by one and down by the other. With these rounded alike, the numbers are the
same; docs/evaluation.md has the figures of larger networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bitnet_onnx.evaluation.perplexity import perplexities
from bitnet_onnx.evaluation.reference import TorchScorer
from bitnet_onnx.evaluation.scorers import SessionScorer
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model.rotary import rotary_tables
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.verification.reference import TieBreaker, transformers_network
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import absmax_int8
from tests.support import checkpoints
from tests.support.evaluation.guide import guide_perplexity
from tests.support.evaluation.networks import TEXT, VOCAB, write_tokenizer
from tests.support.paths import ROOT
from tests.support.ties import recorded

SIZES: dict[str, dict[str, Any]] = {
    "packed": {"layers": 2},
    "masters": {"layers": 2, "packed": False},
    "untied, deeper": {"layers": 5, "tied": False, "hidden": 128, "inner": 320},
}
TASKS = ROOT / "tests" / "support" / "evaluation" / "tasks"
NEAR = 1e-4  # of a step between two codes: what float32 sums of one input can move an activation


class Both(NamedTuple):
    """A checkpoint, our torch reference of it, transformers' network and what resolves ties."""

    folder: Path
    scorer: TorchScorer
    theirs: Any
    breaker: TieBreaker


class Resolved:
    """Transformers' network, which rounds ties as our reference does for the same ids."""

    def __init__(self, both: Both) -> None:
        self._both, self.linears = both, list(both.breaker.input_differences)

    def __call__(self, ids: Tensor, **options: Any) -> Any:
        with recorded(self._both.scorer._network, self.linears) as inputs:
            self._both.scorer._network(ids)
        with self._both.breaker.against(inputs):
            return self._both.theirs(ids, **options)


@pytest.fixture(scope="module", params=SIZES)
def both(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("ternary") / "c"
    fields = checkpoints.config_fields(vocab=VOCAB, context=96, **SIZES[request.param])
    made = checkpoints.tensors(fields)
    if "lm_head.weight" in made:
        made["lm_head.weight"] /= 16  # exact; without it, tokens are a thousand times too unlikely
    checkpoints.write(folder, fields, made)
    write_tokenizer(folder, bos=True)
    opened = open_checkpoint(folder)
    theirs = transformers_network(opened)
    breaker = TieBreaker(theirs, list(opened.parts.linears))
    yield Both(folder, TorchScorer(opened), theirs, breaker)
    breaker.remove()


def test_perplexity_is_that_of_transformers_with_ties_rounded_alike(
    both: Both, tmp_path: Path
) -> None:
    export(both.folder, tmp_path / "a")
    tokenizer = Tokenizer.from_folder(both.folder)
    session = SessionScorer(Session(tmp_path / "a", threads=1), tokenizer)
    ids = torch.tensor([tokenizer.encode_whole(TEXT)])
    expected = guide_perplexity(Resolved(both), ids, 64, 48)
    assert both.breaker.non_ties == 0
    exact, found = perplexities([both.scorer, session], TEXT, 64, 48, exact=True)
    assert exact.perplexity == pytest.approx(expected, rel=1e-5)
    assert found.perplexity == pytest.approx(expected, rel=1e-5)
    assert found.same_ids == 1
    assert found.kl_divergence == pytest.approx(0, abs=1e-9)


@torch.no_grad()
def test_each_part_on_the_input_of_transformers_differs_by_ties_alone(both: Both) -> None:
    """So no formula differs: not the norm, its epsilon, the attention, the scale or the clamp."""
    seen: dict[str, tuple[Any, Any]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, args, output, name=name: seen.update({name: (args, output)})
        )
        for name, module in both.theirs.named_modules()
    ]
    ids = torch.tensor([both.scorer.tokenizer.encode_whole(TEXT)[:96]])
    both.theirs(ids)
    for hook in hooks:
        hook.remove()
    config = open_checkpoint(both.folder).config
    rope = rotary_tables(config, torch.arange(ids.shape[1])[None])
    layers: Any = both.scorer._network.model.layers
    for number, layer in enumerate(layers):
        own = layer.self_attn
        at = f"model.layers.{number}."
        query, key, value = (seen[f"{at}self_attn.{part}_proj"][1] for part in "qkv")
        made, _ = own.attend(query, key, value, rope, None, None)
        compare(own.attn_sub_norm(made), seen[f"{at}self_attn.attn_sub_norm"][1])
        for norm in ("input_layernorm", "post_attention_layernorm", "mlp.ffn_sub_norm"):
            args, output = seen[at + norm]
            compare(layer.get_submodule(norm)(args[0]), output)
        gate, up = (seen[f"{at}mlp.{part}_proj"][1] for part in ("gate", "up"))
        assert torch.equal(gate.relu() ** 2 * up, seen[f"{at}mlp.ffn_sub_norm"][0][0])
        for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
            args, output = seen[at + part]
            codes, scale = their_codes(args[0])
            weight, weight_scale = layer.get_submodule(part).ternary()
            made = codes @ weight.T * (weight_scale / scale)
            assert checkpoints.close(made, output, 1e-6)


# Of the others, the perplexity has more digits than lm_eval's float32 gives.
@pytest.mark.parametrize("both", ["untied, deeper"], indirect=True)
def test_lm_eval_prints_the_same_digits_with_ties_rounded_alike(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its own model of the same checkpoint."""
    lm_eval = pytest.importorskip("lm_eval")
    pytest.importorskip("datasets")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import make_table

    from bitnet_onnx.evaluation.lm_eval import BitNetLM

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    monkeypatch.chdir(TASKS)
    theirs = HFLM(both.theirs, tokenizer=str(both.folder), batch_size=1)
    resolved = Resolved(both)

    @torch.no_grad()
    def called(ids: Tensor, **_: Any) -> Any:
        return resolved(ids).logits

    monkeypatch.setattr(theirs, "_model_call", called)
    export(both.folder, tmp_path / "a")
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    found, expected = (
        lm_eval.simple_evaluate(
            network,
            tasks=["cats_choice", "cats_text", "cats_last"],
            task_manager=manager,
            bootstrap_iters=0,
        )
        for network in (BitNetLM(tmp_path / "a", threads=1), theirs)
    )
    assert make_table(found) == make_table(expected)
    assert both.breaker.ties > 0
    assert both.breaker.non_ties == 0


def their_codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize as transformers writes it: torch turns a number over a tensor into 127 * (1 / max).

    Ours is 127 / max, rounded once: the last bit of the scale may differ.
    """
    scale = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
    return (x * scale).round().clamp(-128, 127), scale


def compare(found: Tensor, expected: Tensor) -> None:
    """Check that codes differ by one, where the activation is half-way between both."""
    codes, scale = their_codes(expected)
    steps = expected * scale
    differ = absmax_int8(found)[0] != codes
    assert ((absmax_int8(found)[0] - codes).abs() <= 1).all()
    assert ((steps - steps.floor() - 0.5).abs()[differ] < NEAR).all()
    assert checkpoints.close(found, expected, 1e-6)
