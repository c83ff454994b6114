"""Mixtures of experts are compared with transformers' GraniteMoe, float and ternary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.model import IGNORED, BitNetForCausalLM
from bitnet_onnx.model.exact import route
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.weights.checkpoint.write import save_packed
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.checkpoints import close
from tests.support.granite import networks as granite
from tests.support.oracle_networks import greedy, ids_of

VARIANTS, SHARED = granite.VARIANTS, granite.SHARED
STEPS = 64


def read(folder: Path) -> BitNetForCausalLM:
    return BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))


def near(found: Any, expected: Tensor) -> bool:
    return float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@torch.no_grad()
def same_steps(ours: Any, theirs: Any, steps: int) -> None:
    """Feed a batch, then step by step with both caches the tested network's choices."""
    ids, past, cache = ids_of(9, seed=1, batch=2, vocab=97), None, None
    for step in range(steps):
        found = ours(ids, past_key_values=past)
        expected = theirs(ids, cache=cache, use_cache=True)
        assert near(found.logits, expected.logits)
        assert torch.equal(found.logits.argmax(-1), expected.logits.argmax(-1))
        past, cache = found.past_key_values, expected.cache
        ids = found.logits[:, -1:].argmax(-1)
        if step % 4 == 3:  # random networks soon repeat themselves
            ids = ids_of(1, seed=step, batch=2, vocab=97)


@pytest.mark.parametrize("name", [*VARIANTS, "shared"])
def test_a_float_mixture_computes_what_transformers_computes(tmp_path: Path, name: str) -> None:
    theirs = granite.draw(**(SHARED if name == "shared" else VARIANTS[name]))
    same_steps(read(granite.save(theirs, tmp_path / "c")), theirs, STEPS)


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("changes", [{}, SHARED, {"output_router_logits": True}])
def test_router_logits_and_the_balance_loss_are_those_of_transformers(
    tmp_path: Path, changes: dict[str, Any], masked: bool
) -> None:
    theirs = granite.draw(router_aux_loss_coef=0.3, **changes)
    ours = read(granite.save(theirs, tmp_path / "c"))
    ids, mask = ids_of(10, seed=3, batch=3, vocab=97), None
    if masked:
        mask = torch.ones_like(ids)
        mask[1, :4] = mask[2, :7] = 0
    asked = {} if "output_router_logits" in changes else {"output_router_logits": True}
    labels = ids.clone()
    if mask is not None:  # what a padded position predicts is not defined
        labels[:, 1:][mask[:, :-1] == 0] = IGNORED
    wanted = {"labels": labels, "attention_mask": mask, "output_hidden_states": True, **asked}
    found, expected = (network(ids, **wanted) for network in (ours, theirs))
    rows = slice(None) if mask is None else mask.flatten().bool()
    assert found.router_logits is not None
    for a, b in zip(found.router_logits, expected.router_logits, strict=True):
        assert a.shape == b.shape
        assert near(a[rows], b[rows])
    for name in ("aux_loss", "loss"):
        assert near(getattr(found, name), getattr(expected, name))
    plain = ours(ids, labels=labels, attention_mask=mask, output_router_logits=False)
    assert plain.router_logits is None
    assert torch.equal(plain.logits, found.logits)
    assert plain.loss is not None
    assert found.loss is not None
    assert found.loss > plain.loss


def test_equal_logits_choose_the_lowest_expert() -> None:
    """torch.topk has no rule for them; ONNX's TopK has this one."""
    logits = torch.tensor([[1.0, 2, 2, 2, 0, 2, 1, 3], [0.0] * 8])
    chosen, shares = route(logits, 3)
    assert chosen.tolist() == [[1, 2, 7], [0, 1, 2]]
    expected = torch.stack([torch.tensor([2.0, 2, 3]), torch.zeros(3)]).softmax(-1)
    assert near(shares, expected)


# ----------------------------------------------------------------------------- ternary experts


def declare(folder: Path, mode: str) -> Path:
    """Add the quantization_config of masters or of packed codes."""
    path = folder / "config.json"
    section = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": mode}
    fields = json.loads(path.read_text()) | {"quantization_config": section}
    path.write_text(json.dumps(fields))
    return folder


TERNARY = ["8 experts", "5 experts, all of them", "1 expert", "40 experts, 8 of them", "shared"]


def masters(folder: Path, name: str, seed: int = 0) -> tuple[Path, Any]:
    """Save a GraniteMoe as the masters of ternary experts; return also its ternary form."""
    theirs = granite.draw(**(SHARED if name == "shared" else VARIANTS[name]), seed=seed)
    return declare(granite.save(theirs, folder), "online"), granite.ternary(theirs)


@torch.no_grad()
@pytest.mark.parametrize("name", TERNARY)
def test_ternary_experts_are_quantized_each_by_itself(tmp_path: Path, name: str) -> None:
    """None of the activations is on a rounding tie with these seeds."""
    folder, theirs = masters(tmp_path / "c", name, seed=1)
    ours, prompt = read(folder), ids_of(5, seed=3, vocab=97)
    ids = ids_of(9, seed=1, batch=2, vocab=97)
    assert close(ours(ids).logits, theirs(ids).logits)
    assert ours.generate(prompt, 16)[0].tolist() == greedy(theirs, prompt, 16)


@torch.no_grad()
@pytest.mark.parametrize("name", TERNARY)
def test_packed_experts_compute_what_their_masters_compute(tmp_path: Path, name: str) -> None:
    folder, _ = masters(tmp_path / "c", name)
    ids = ids_of(9, seed=1, batch=2, vocab=97)
    converted = convert(folder, tmp_path / "p", to="packed")
    assert torch.equal(read(converted)(ids).logits, read(folder)(ids).logits)
    stored = load_file(converted / "model.safetensors")
    layer = "model.layers.1.block_sparse_moe"
    experts, _, inner = stored[f"{layer}.output_linear.weight"].shape
    hidden = stored["model.norm.weight"].shape[0]
    shapes = {
        "input_linear.weight": (experts, inner // 2, hidden),
        "input_linear.weight_scale": (experts, 2),
        "output_linear.weight": (experts, hidden // 4, inner),
        "output_linear.weight_scale": (experts,),
        "router.layer.weight": (experts, hidden),
    }
    assert {name: tuple(stored[f"{layer}.{name}"].shape) for name in shapes} == shapes
    assert stored[f"{layer}.input_linear.weight"].dtype == torch.uint8
    again = convert(converted, tmp_path / "q", to="packed")
    for file in ("config.json", "model.safetensors"):
        assert (again / file).read_bytes() == (converted / file).read_bytes()


@torch.no_grad()
def test_scales_may_have_the_shapes_that_others_would_store(tmp_path: Path) -> None:
    folder = convert(masters(tmp_path / "c", "8 experts")[0], tmp_path / "p", to="packed")
    path = folder / "model.safetensors"
    stored, ids = load_file(path), ids_of(9, seed=1, vocab=97)
    down = "model.layers.0.block_sparse_moe.output_linear.weight_scale"
    both = "model.layers.0.block_sparse_moe.input_linear.weight_scale"
    expected = read(folder)(ids).logits
    for shape in ((8, 1), (8, 1, 1)):
        save_file(stored | {down: stored[down].reshape(shape).contiguous()}, path)
        assert torch.equal(read(folder)(ids).logits, expected)
    one_each = stored[both][:, :1].expand(-1, 2).contiguous()
    save_file(stored | {both: one_each}, path)
    expected = read(folder)(ids).logits
    save_file(stored | {both: one_each[:, 0].contiguous()}, path)
    assert torch.equal(read(folder)(ids).logits, expected)
    for wrong in (stored[both][:, :1].repeat(1, 3), stored[both][:4]):
        save_file(stored | {both: wrong.contiguous()}, path)
        with pytest.raises(
            CheckpointError, match=r"weight_scale has the shape .*, expected \[8, 2"
        ):
            open_checkpoint(folder)


@torch.no_grad()
def test_names_of_modules_are_read_too(tmp_path: Path) -> None:
    """A state_dict of transformers 5 has other names than the files that it writes."""
    theirs = granite.draw()
    folder, ids = granite.save(theirs, tmp_path / "c"), ids_of(9, seed=1, vocab=97)
    expected, path = read(folder)(ids).logits, folder / "model.safetensors"
    state = {k: v.bfloat16() for k, v in theirs.state_dict().items() if k != "lm_head.weight"}
    assert "model.layers.0.block_sparse_moe.experts.gate_up_proj" in state
    save_file(state, path)
    assert torch.equal(read(folder)(ids).logits, expected)
    save_file(state | {"model.layers.0.block_sparse_moe.input_linear.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"input_linear.weight', and so does"):
        open_checkpoint(folder)


def test_training_moves_every_master_and_the_packed_result_computes_the_same(
    tmp_path: Path,
) -> None:
    folder, _ = masters(tmp_path / "c", "8 experts")
    network = read(folder).train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        result = network(ids := ids_of(24, seed=7, batch=4, vocab=97), labels=ids,
                         output_router_logits=True)  # fmt: skip
        assert result.loss is not None
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(result.loss.item())
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in network.named_parameters())
    packed = save_packed(tmp_path / "p", network.config, network.state_dict())
    codes, scale = open_checkpoint(packed).ternary("model.layers.0.block_sparse_moe.input_linear")
    trained = network.model.layers[0].block_sparse_moe.input_linear  # type: ignore[union-attr]
    expected, multiplier = trained.ternary(3)  # type: ignore[operator, union-attr]
    assert torch.equal(codes[3].float(), expected)
    assert torch.equal(scale[3], multiplier[[0, -1]].bfloat16().float())


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts_per_tok": 9}, "num_experts_per_tok is 9, expected at most"),
        ({"num_local_experts": 0}, "num_local_experts is 0, expected an integer from 1"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok is 0, expected an integer from 1"),
        ({"num_local_experts": "8"}, "num_local_experts is '8', expected an integer"),
        ({"router_aux_loss_coef": -1}, "router_aux_loss_coef is -1, expected a number above 0"),
        ({"output_router_logits": 1}, "output_router_logits is 1, expected true or false"),
        ({"shared_intermediate_size": 16}, "shared_intermediate_size"),
        ({"router_jitter_noise": 0.1}, "router_jitter_noise"),
        ({"norm_topk_prob": False}, "norm_topk_prob is False, expected null or True"),
        ({"n_shared_experts": 1}, "n_shared_experts is 1"),
        ({"attention_multiplier": 0}, "attention_multiplier is 0, expected a number above 0"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"logits_scaling": 1e-320}, "logits_scaling is 1e-320, expected a number of at least"),
        ({"residual_multiplier": 1e-45}, "residual_multiplier is 1e-45, expected a number of at"),
        ({"rope_theta": 1e-39}, "rope_theta is 1e-39, expected a number of at least"),
        ({"rope_scaling": []}, r"rope_scaling is \[\], expected an object"),
        ({"rope_scaling": False}, "rope_scaling is False, expected an object"),
        ({"rope_scaling": ""}, "rope_scaling is '', expected an object"),
    ],
)
def test_what_a_config_declares_is_obeyed_or_refused(changes: dict[str, Any], message: str) -> None:
    fields = {"model_type": "granitemoe", **granite.SIZES, **changes}
    with pytest.raises(ConfigError, match=message):
        BitNetConfig.from_dict(fields)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"use_rms_norm": True}, "use_rms_norm is True, expected one of: False, None"),
        ({"group_size": 128}, "group_size is 128, expected one of: None"),
        (
            {"modules_to_not_convert": ["lm_head", "block_sparse_moe"]},
            "leaves block_sparse_moe in float",
        ),
        ({"modules_to_not_convert": ["router"]}, "a list with 'lm_head'"),
        ({"quant_method": "gptq"}, "quant_method is 'gptq'"),
    ],
)
def test_a_quantization_of_other_kinds_is_refused(section: dict[str, Any], message: str) -> None:
    fields = {"model_type": "granitemoe", **granite.SIZES}
    with pytest.raises(ConfigError, match=message):
        BitNetConfig.from_dict(fields | {"quantization_config": section})
    named = {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head", "router"]}
    assert not BitNetConfig.from_dict(fields | {"quantization_config": named}).float_linears


def test_only_ternary_experts_are_packed_and_none_is_written_as_gguf(tmp_path: Path) -> None:
    folder = granite.save(granite.draw(), tmp_path / "c")
    with pytest.raises(ConfigError, match="are float, expected a ternary network"):
        convert(folder, tmp_path / "p", to="packed")
    packed = convert(declare(folder, "online"), tmp_path / "q", to="packed")
    with pytest.raises(CheckpointError, match="not written as GGUF"):
        convert(packed, tmp_path / "m.gguf", to="gguf")


def test_a_config_is_written_as_it_was_read() -> None:
    for model_type in ("granitemoe", "granitemoeshared"):
        fields = {"model_type": model_type, "shared_intermediate_size": 24, **granite.SIZES}
        if model_type == "granitemoe":
            del fields["shared_intermediate_size"]
        config = BitNetConfig.from_dict(fields)
        assert BitNetConfig.from_dict(config.to_dict()) == config
        assert not config.not_read


@pytest.mark.parametrize("expert", [0, 5])
def test_a_damaged_expert_is_named(tmp_path: Path, expert: int) -> None:
    folder = granite.save(granite.draw(), tmp_path / "c")
    path = folder / "model.safetensors"
    stored, name = load_file(path), "model.layers.1.block_sparse_moe.output_linear.weight"
    stored[name][expert] = 0
    save_file(stored, path)
    with pytest.raises(CheckpointError, match=f"expert {expert} of .* holds only zeros"):
        read(folder)


@pytest.mark.parametrize("kind", ["floats", "masters", "packed"])
@pytest.mark.parametrize("damage", ["zeros", "one value", "huge"])
def test_a_damaged_router_is_named(tmp_path: Path, kind: str, damage: str) -> None:
    folder = granite.save(granite.draw(), tmp_path / "c")
    if kind != "floats":
        folder = declare(folder, "online")
    if kind == "packed":
        folder = convert(folder, tmp_path / "p", to="packed")
    path, name = folder / "model.safetensors", "model.layers.1.block_sparse_moe.router.layer.weight"
    stored = load_file(path)
    if damage == "huge":
        stored[name][2, 3] = 1e30
    else:
        stored[name][:] = 0 if damage == "zeros" else 0.25
    save_file(stored, path)
    with pytest.raises(CheckpointError, match=rf"{name} holds .* no trained network has"):
        read(folder)
