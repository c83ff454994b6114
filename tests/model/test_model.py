"""The torch network is compared with transformers' BitNetForCausalLM in float32, and with itself.

Tolerance: another order of a float32 sum may change an activation on a rounding tie by one int8
step, and one such change moves the logits by about 1e-3. With the sizes and seeds here it does not
occur, and only float32 noise remains: at most 1e-5 of the largest logit (measured: 4e-7).
"""

from __future__ import annotations

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # transformers wraps its unpacking in torch.compile

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitLinear, BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights.checkpoint.write import save_packed
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import absmean_ternary
from tests.support import checkpoints
from tests.support.checkpoints import close


def ids_of(batch: int, length: int, seed: int = 0, vocab: int = 96) -> Tensor:
    return torch.randint(0, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def load(folder: Path) -> BitNetForCausalLM:
    return BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))


def oracle(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    pytest.importorskip("accelerate")  # its quantized loader asks for it
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return torch.nn.Module.float(model).eval()  # unpacked linear weights stay bf16 otherwise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.make(tmp_path_factory.mktemp("model") / "c")


@pytest.fixture(scope="module")
def model(folder: Path) -> BitNetForCausalLM:
    return load(folder)


VARIANTS: dict[str, dict[str, Any]] = {
    "packed tied": {},
    "packed untied": {"tied": False},
    "master tied": {"packed": False},
    "master untied": {"packed": False, "tied": False},
    "no grouping": {"kv_heads": 4},
    "one kv head": {"kv_heads": 1},
    "one head": {"heads": 1, "kv_heads": 1},
    "other theta": {"rope_theta": 100.0},
    "other eps": {"rms_norm_eps": 0.1},
    "wide": {"hidden": 96, "heads": 6, "kv_heads": 3, "inner": 272},
}


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_logits_are_those_of_transformers(tmp_path: Path, variant: str) -> None:
    folder = checkpoints.make(tmp_path / "c", **VARIANTS[variant])
    ours, theirs = load(folder), oracle(folder)
    ids = ids_of(2, 13)
    assert close(ours(ids).logits, theirs(ids).logits)
    labels = ids.clone()
    labels[0, :5] = -100
    found, expected = ours(ids, labels=labels), theirs(ids, labels=labels)
    assert found.loss is not None
    assert abs(found.loss - expected.loss) <= 1e-5 * expected.loss


@torch.no_grad()
def test_arguments_have_the_meanings_of_transformers(
    folder: Path, model: BitNetForCausalLM
) -> None:
    theirs, ids = oracle(folder), ids_of(2, 9)
    right = torch.ones_like(ids)
    right[0, 6:] = 0
    found = model(ids, attention_mask=right).logits
    expected = theirs(ids, attention_mask=right).logits
    assert close(found[0, :6], expected[0, :6])
    assert close(found[1], expected[1])
    ids = ids_of(2, 9, seed=2)  # seeds 0 and 1 hold an activation on a tie
    left = right.flip(1)
    positions = (left.cumsum(1) - 1).clamp(min=0)
    found = model(ids, attention_mask=left, position_ids=positions).logits
    expected = theirs(ids, attention_mask=left, position_ids=positions).logits
    assert close(found[0, 3:], expected[0, 3:])
    assert close(found[1], expected[1])
    assert found.isfinite().all()
    for keep in (0, 1, 4, 9):
        found, expected = (m(ids, logits_to_keep=keep).logits for m in (model, theirs))
        assert found.shape == expected.shape
        assert close(found, expected)
    assert model(ids, logits_to_keep=1).logits.shape == (2, 1, 96)


@torch.no_grad()
def test_greedy_ids_are_those_of_transformers(folder: Path, model: BitNetForCausalLM) -> None:
    ids = ids_of(1, 5, seed=3)
    expected = oracle(folder).generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=None)
    assert model.generate(ids, 20).tolist() == expected.tolist()


# ------------------------------------------------------------------------------- against itself


@pytest.mark.parametrize("cuts", [[1] * 11, [5, 1, 1, 4], [10, 1]])
@torch.no_grad()
def test_steps_with_a_cache_equal_one_call(model: BitNetForCausalLM, cuts: list[int]) -> None:
    ids = ids_of(2, 11, seed=1)
    whole = model(ids).logits
    past, parts, done = None, [], 0
    for cut in cuts:
        out = model(ids[:, done : done + cut], past_key_values=past)
        past, done = out.past_key_values, done + cut
        parts.append(out.logits)
    assert past is not None
    assert past[0][0].shape == (2, 2, 11, 16)
    assert close(torch.cat(parts, dim=1), whole)


@torch.no_grad()
def test_later_ids_do_not_change_earlier_logits(model: BitNetForCausalLM) -> None:
    ids, other = ids_of(1, 9, seed=2), ids_of(1, 9, seed=2)
    other[0, 6:] = (other[0, 6:] + 1) % 96
    assert torch.equal(model(ids).logits[:, :6], model(other).logits[:, :6])


@torch.no_grad()
def test_generate_stops_at_eos(model: BitNetForCausalLM) -> None:
    ids = ids_of(1, 4, seed=4)
    unstopped = model.generate(ids, 6)[0].tolist()
    assert len(unstopped) == 10
    stopped = model.generate(ids, 6, eos_token_ids={unstopped[6]})[0].tolist()
    assert stopped == unstopped[: unstopped.index(unstopped[6], 4) + 1]
    assert model.generate(ids, 0).tolist() == ids.tolist()


# -------------------------------------------------------------------------------------- training


def test_training_mode_gives_the_logits_of_evaluation_mode(tmp_path: Path) -> None:
    """They differ by float32 noise: STE multiplies dequantized floats, evaluation sums integers."""
    model = load(checkpoints.make(tmp_path / "c", packed=False))
    ids = ids_of(2, 12, seed=5)
    evaluated = model.eval()(ids).logits
    trained = model.train()(ids).logits
    assert close(trained, evaluated)


def test_gradients_pass_both_quantizers() -> None:
    torch.manual_seed(0)
    linear = BitLinear(8, 4).train()
    x = torch.randn(3, 8, requires_grad=True)
    linear(x).sum().backward()
    codes, scale = absmean_ternary(linear.weight.detach())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (codes * scale).sum(0).expand(3, 8))
    assert linear.weight.grad is not None
    # W's gradient is the sum of the quantized activations, each within half a step of x.
    step = x.detach().abs().amax(1, keepdim=True) / 127 / 2
    error = (linear.weight.grad - x.detach().sum(0)).abs().max()
    assert error <= step.sum() * 1.0001


def test_fine_tuning_lowers_the_loss_and_survives_packing(tmp_path: Path) -> None:
    source = open_checkpoint(checkpoints.make(tmp_path / "c", packed=False))
    model = BitNetForCausalLM.from_checkpoint(source).train()
    ids = ids_of(4, 16, seed=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = model(ids, labels=ids).loss
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]

    model.eval()
    with torch.no_grad():
        save_packed(tmp_path / "packed", source.config, model.state_dict(), source.text_files())
        # Tables and norms are stored as bf16. With the same rounding here the ids must agree.
        for name, parameter in model.named_parameters():
            if "proj" not in name:
                parameter.copy_(parameter.bfloat16().float())
    reloaded = load(tmp_path / "packed")
    session = Session(export(tmp_path / "packed", tmp_path / "artifact"))
    for start in (ids[:1, :3], ids[1:2, :5]):
        expected = model.generate(start, 16)
        assert reloaded.generate(start, 16).tolist() == expected.tolist()
        session.reset()
        logits, prompt = session.prefill(start[0].tolist()), start.shape[1]
        for token in expected[0, prompt:].tolist():
            assert logits.argmax() == token
            logits = session.decode([token])[0]
    with pytest.raises(ConfigError, match="exists"):
        save_packed(tmp_path / "packed", source.config, model.state_dict())
