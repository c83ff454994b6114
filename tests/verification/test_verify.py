"""verify finds differences, forgives rounding ties, and does not change what it looks at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.verification.reference import TieBreaker, load_reference
from bitnet_onnx.verification.taps import TappedSession
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import absmax_int8
from tests.support import checkpoints

IDS = [17, 3, 88, 40, 5]
AFTER_THE_LAST_ATTENTION = r"model\.layers\.1\.(self_attn\.o_proj|mlp\.)"


# ------------------------------------------------------------------------------- looking inside


def test_taps_do_not_change_the_logits(pair: tuple[Path, Path]) -> None:
    plain, tapped = Session(pair[1]), TappedSession(Artifact.open(pair[1]))
    for ids in (IDS, [7], [61]):
        np.testing.assert_array_equal(tapped.prefill(ids), plain.prefill(ids))
        config = open_checkpoint(pair[0]).config
        assert set(tapped.inputs) == set(parts_of(config).linears)
        for name, linear in parts_of(config).linears.items():
            rows = 1 if re.match(AFTER_THE_LAST_ATTENTION, name) else len(ids)
            assert tapped.inputs[name].shape == (1, rows, linear.features)


@torch.no_grad()
def test_taps_are_the_inputs_of_the_linears(pair: tuple[Path, Path]) -> None:
    """In the first layer quantizers cannot have rounded differently: equal up to float error."""
    tapped = TappedSession(Artifact.open(pair[1]))
    network = load_reference(open_checkpoint(pair[0]), "torch", tapped.artifact.head)
    name = "model.layers.0.self_attn.q_proj"
    seen: list[Tensor] = []
    linear = network.get_submodule(name)
    linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(torch.tensor([IDS]))
    tapped.prefill(IDS)
    assert checkpoints.close(torch.from_numpy(tapped.inputs[name]), seen[0], 1e-6)


# -------------------------------------------------------------------------------- rounding ties


class OneLinear(nn.Module):
    """A network of one linear, on which hooks can change the activations."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def resolved(x: list[float], other: list[float]) -> tuple[TieBreaker, Tensor]:
    """Return the tie breaker and the activations x after it compared them with ``other``."""
    network = OneLinear()
    breaker = TieBreaker(network, ["linear"])
    with breaker.against({"linear": np.array([[other]], dtype=np.float32)}):
        return breaker, network(torch.tensor([[x]]))


def test_a_tie_is_rounded_as_on_the_other_side() -> None:
    """absmax 127 makes the scale 1, so 2.50001 and 2.49999 are rounded to 3 and 2."""
    breaker, y = resolved([127.0, 2.50001, -7.25], [127.0, 2.49999, -7.25])
    assert (breaker.ties, breaker.non_ties) == (1, 0)
    assert absmax_int8(y)[0].tolist() == [[[127.0, 2.0, -7.0]]]
    assert breaker.input_differences["linear"] == pytest.approx(2e-5 / 127, rel=0.01)


def test_an_activation_without_a_tie_stays_and_is_counted() -> None:
    breaker, y = resolved([127.0, 2.51, 4.0], [127.0, 2.49, 6.0])
    assert (breaker.ties, breaker.non_ties) == (0, 2)
    assert y.tolist() == torch.tensor([[[127.0, 2.51, 4.0]]]).tolist()


def test_a_tie_is_not_moved_to_a_distant_code() -> None:
    _, y = resolved([127.0, 2.5], [127.0, 9.0])
    assert absmax_int8(y)[0].tolist() == [[[127.0, 2.0]]]


def test_the_tie_breaker_does_nothing_outside_its_block() -> None:
    network = OneLinear()
    breaker = TieBreaker(network, ["linear"])
    x = torch.tensor([[[127.0, 2.5]]])
    assert network(x) is x
    with breaker.against({"linear": np.zeros((1, 1, 2), np.float32)}):
        pass
    breaker.remove()
    assert network(x) is x
    assert breaker.non_ties == 0


# -------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("against", ["torch", "transformers"])
def test_artifact_and_references_agree(pair: tuple[Path, Path], against: str) -> None:
    checkpoint = open_checkpoint(pair[0])
    (result,) = verify(checkpoint, Artifact.open(pair[1]), [IDS], 24, against=against)
    assert result.agrees, result.to_dict()
    assert result.first_difference is None
    assert result.non_ties == 0


@pytest.mark.parametrize(
    ("changed", "first_difference"),
    [
        ("model.norm.weight", None),
        ("model.layers.1.self_attn.k_proj.weight_scale", "model.layers.1.self_attn.o_proj"),
        ("model.layers.0.mlp.down_proj.weight_scale", "model.layers.1.self_attn.q_proj"),
    ],
)
def test_a_changed_weight_is_found_where_it_acts(
    pair: tuple[Path, Path], tmp_path: Path, changed: str, first_difference: str | None
) -> None:
    fields = json.loads((pair[0] / "config.json").read_text())
    tensors = checkpoints.tensors(fields)
    tensors[changed] = tensors[changed] * 1.1
    checkpoints.write(tmp_path, fields, tensors)
    (result,) = verify(open_checkpoint(tmp_path), Artifact.open(pair[1]), [IDS], 4)
    assert not result.agrees
    assert result.first_difference == first_difference


def test_the_json_report_names_every_linear(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--prompt-ids", "1,2,3", "--max-new-tokens", "3", "--format", "json"]
    assert main(["verify", str(pair[0]), str(pair[1]), *options]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["agree"] is True
    assert report["against"] == "torch"
    (prompt,) = report["prompts"]
    assert prompt["prompt"] == [1, 2, 3]
    linears = set(parts_of(open_checkpoint(pair[0]).config).linears)
    assert set(prompt["input_differences"]) == linears


@pytest.mark.parametrize(
    ("prompts", "steps", "against", "words"),
    [
        ([IDS], 0, "torch", "max_new_tokens is 0"),
        ([IDS], 2, "paper", "against is 'paper'"),
        ([IDS], 1000, "torch", "1000 steps is too long, expected at most the artifact's context"),
    ],
)
def test_an_impossible_comparison_is_refused(
    pair: tuple[Path, Path], prompts: list[list[int]], steps: int, against: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        verify(open_checkpoint(pair[0]), Artifact.open(pair[1]), prompts, steps, against=against)


@pytest.mark.parametrize("context", [1, 2, 8, 40])
def test_the_defaults_fit_a_short_context(tmp_path: Path, context: int) -> None:
    checkpoint = checkpoints.make(tmp_path / "c", layers=1)
    artifact = export(checkpoint, tmp_path / "a", context_length=context)
    found = verify(checkpoint, artifact)
    assert all(one.agrees for one in found)
    for one in found:
        assert 1 <= one.steps <= context + 1 - len(one.prompt)
    (given,) = verify(checkpoint, artifact, [[5]])
    assert given.steps == min(64, context)
    assert [len(one.prompt) for one in verify(checkpoint, artifact, max_new_tokens=context)][2] == 1


def test_prompts_come_from_a_file(
    demo_checkpoint: Path, demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("What is 27 + 5?\n\nSpell the word PLANT.\n")
    options = [
        "--prompts-file",
        str(tmp_path / "prompts.txt"),
        "--max-new-tokens",
        "4",
        "--format",
        "json",
    ]
    assert main(["verify", str(demo_checkpoint), str(demo_artifact), *options]) == 0
    assert len(json.loads(capsys.readouterr().out)["prompts"]) == 2
    options[1] = str(tmp_path / "missing.txt")
    assert main(["verify", str(demo_checkpoint), str(demo_artifact), *options]) == 2
