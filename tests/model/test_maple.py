"""Maple in torch and as an artifact against its formulas in plain torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitnet_onnx.errors import BitNetError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import maple
from tests.support.maple import CONFIG

SLIDING, FULL = "sliding_attention", "full_attention"
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "all of 5 experts, heads not grouped": {
        "num_experts": 5,
        "num_experts_per_tok": 5,
        "num_key_value_heads": 4,
    },
    "1 of 7, all of a head turns, tied": {
        "num_experts": 7,
        "num_experts_per_tok": 1,
        "partial_rotary_factor": 1.0,
        "tie_word_embeddings": True,
    },
    "a quarter turns, a window of 1": {
        "partial_rotary_factor": 0.25,
        "sliding_window": 1,
        "layer_types": [FULL, SLIDING],
        "num_hidden_layers": 2,
    },
    "no layer slides": {"layer_types": [FULL, FULL], "num_hidden_layers": 2},
    "all layers slide": {"layer_types": [SLIDING, SLIDING], "num_hidden_layers": 2},
}
LENGTH = 24  # longer than any window


def fields_of(name: str) -> dict[str, Any]:
    return CONFIG | VARIANTS[name]


def ids_of(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 97, (count,), generator=torch.Generator().manual_seed(seed))


def near(found: Any, expected: Tensor, bound: float = 1e-5) -> bool:
    difference = (torch.as_tensor(found) - expected).abs().max()
    return float(difference) <= bound * float(expected.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_torch_computes_the_formulas_at_once_and_step_by_step(tmp_path: Path, name: str) -> None:
    fields = fields_of(name)
    weights, ids = maple.draw(fields), ids_of(LENGTH)
    expected = maple.logits(fields, weights, ids)
    folder = maple.save(tmp_path / "c", fields, weights, shards=3)
    network = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    assert near(network(ids[None]).logits[0], expected)
    past: Any = None
    for first, end in ((0, 9), (9, 10), (10, 17), *((n, n + 1) for n in range(17, LENGTH))):
        output = network(ids[None, first:end], past_key_values=past)
        past = output.past_key_values
        assert near(output.logits[0], expected[first:end])


@torch.no_grad()
def test_the_window_the_limit_and_the_positions_all_count(tmp_path: Path) -> None:
    """Each of them changes the logits, so that the tests above can see it."""
    weights, ids = maple.draw(CONFIG), ids_of(LENGTH)
    expected = maple.logits(CONFIG, weights, ids)
    for changes in (
        {"sliding_window": 6},
        {"sliding_window": 64},
        {"partial_rotary_factor": 0.25},
        {"layer_types": [SLIDING] * 3},
    ):
        assert not near(maple.logits(CONFIG | changes, weights, ids), expected)
    network = BitNetForCausalLM.from_checkpoint(
        open_checkpoint(maple.save(tmp_path / "c", CONFIG, weights))
    )
    layers: Any = network.model.layers
    for layer in layers:
        layer.block_sparse_moe.limit = 0.0
    assert not near(network(ids[None]).logits[0], expected)


@torch.no_grad()
def test_padding_changes_no_row(tmp_path: Path) -> None:
    """On the left and on the right, by more than a window."""
    weights = maple.draw(CONFIG)
    folder = maple.save(tmp_path / "c", CONFIG, weights)
    network = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    ids = ids_of(9)
    expected = maple.logits(CONFIG, weights, ids)
    for before, after in ((8, 0), (0, 8)):
        padded = torch.cat([ids_of(before, 1), ids, ids_of(after, 2)])[None]
        mask = torch.tensor([[0] * before + [1] * 9 + [0] * after])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        found = network(padded, attention_mask=mask, position_ids=positions).logits[0]
        assert near(found[before : before + 9], expected)


CASES = [
    ("published", "native", "float32", True),
    ("published", "native", "float32", False),
    ("published", "native", "int8", True),
    ("published", "stock", "float32", True),
    ("1 of 7, all of a head turns, tied", "native", "float16", True),
    ("no layer slides", "native", "float32", True),
]


@pytest.mark.parametrize(("name", "target", "cache", "library"), CASES, ids=str)
def test_an_artifact_computes_them_step_by_step(
    tmp_path: Path, name: str, target: str, cache: str, library: bool
) -> None:
    fields = fields_of(name)
    weights, ids = maple.draw(fields), ids_of(LENGTH)
    folder = maple.save(tmp_path / "c", fields, weights)
    artifact = export(folder, tmp_path / "a", target=target, kv_cache=cache, copy_library=False)
    session = Session(artifact, threads=1, custom_ops=library)
    bound = {"float32": 1e-5, "float16": 5e-3, "int8": 5e-2}[cache]
    expected = maple.logits(fields, weights, ids)
    found = [session.prefill(ids[:9].tolist()).copy()]
    found += [session.decode([token])[0].copy() for token in ids[9:].tolist()]
    assert near(np.stack(found), expected[8:], bound)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_topk_prob": False}, "norm_topk_prob is False"),
        ({"num_shared_experts": 1}, "num_shared_experts is 1"),
        ({"moe_router_enable_expert_bias": True}, "moe_router_enable_expert_bias is True"),
        ({"swiglu_limit": 10.0}, "swiglu_limit is 10.0"),
        ({"nope_on_global_attention": False}, "nope_on_global_attention is False"),
        ({"use_qk_norm": False}, "use_qk_norm is False"),
        ({"use_bias": True}, "use_bias is True"),
        ({"first_k_dense_replace": 1}, "first_k_dense_replace is 1"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling is"),
        ({"quantization_config": {"quant_method": "bitnet"}}, "quantization_config is"),
        ({"quantization": {"bits": 2, "group_size": 128}}, "quantization"),
        ({"ternary_scheme": "row_twn"}, "ternary_scheme is 'row_twn'"),
        ({"layer_types": [SLIDING]}, "layer_types has 1 entries"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types is"),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok is 7, expected at most num_experts 6"),
        ({"num_experts": 0}, "num_experts is 0"),
        ({"sliding_window": 0}, "sliding_window is 0"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor is 1.5"),
        ({"partial_rotary_factor": 0.2}, "partial_rotary_factor is 0.2"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ],
)
def test_what_is_not_certain_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BitNetError, match=f"^{message}"):
        BitNetConfig.from_dict(CONFIG | changes)


def test_its_config_is_written_and_read_again() -> None:
    for changes in VARIANTS.values():
        config = BitNetConfig.from_dict(CONFIG | changes)
        assert config.not_read == ()
        written = config.to_dict()
        assert written["model_type"] == "maple"
        assert BitNetConfig.from_dict(json.loads(json.dumps(written))) == config
    rope = {"rope_type": "default", "rope_theta": 2e4, "partial_rotary_factor": 0.25}
    newer = {name: value for name, value in CONFIG.items() if not name.startswith("rope_")}
    del newer["partial_rotary_factor"]
    assert BitNetConfig.from_dict(newer | {"rope_parameters": rope}) == BitNetConfig.from_dict(
        CONFIG | {"rope_theta": 2e4, "partial_rotary_factor": 0.25}
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: w.pop("model.layers.1.mlp.experts.4.up_proj.weight"), "lacks the tensor"),
        (lambda w: w.pop("model.word_embeddings.weight"), "lacks the tensor"),
        (
            lambda w: w.update({"model.layers.0.mlp.experts.6.up_proj.weight": torch.ones(24, 32)}),
            "is not a tensor of this network",
        ),
        (
            lambda w: w.update({"model.layers.0.mlp.experts.0.up_proj.weight": torch.ones(32, 24)}),
            r"experts.0.up_proj.weight has the shape \[32, 24\], expected \[24, 32\]",
        ),
        (
            lambda w: w["model.layers.2.mlp.experts.3.down_proj.weight"].fill_(float("nan")),
            "experts.3.down_proj.weight holds a NaN",
        ),
        (
            lambda w: w["model.layers.2.mlp.experts.3.gate_proj.weight"].zero_(),
            "expert 3 of model.layers.2.block_sparse_moe.input_linear.weight",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(
    tmp_path: Path, damage: Any, message: str
) -> None:
    weights = maple.draw(CONFIG)
    damage(weights)
    with pytest.raises(BitNetError, match=message):
        BitNetForCausalLM.from_checkpoint(
            open_checkpoint(maple.save(tmp_path / "c", CONFIG, weights))
        )
