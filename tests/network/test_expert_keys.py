"""Keys of config.json that concern experts: read, tolerated at a value, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.network.config import BitNetConfig
from tests.support import maple
from tests.support.checkpoints import config_fields

GRANITE: dict[str, Any] = {
    "model_type": "granitemoe",
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 97,
}
SHARED = {**GRANITE, "model_type": "granitemoeshared", "shared_intermediate_size": 24}
MIXTURES = [GRANITE, SHARED, maple.CONFIG]
NO_TRUE: tuple[Any, ...] = (False, 0, 1, 2.5, "8", [], [1], [True], {}, float("nan"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scoring_func", "sigmoid"),
        ("score_function", "sigmoid"),
        ("scoring_func", "sqrtsoftplus"),
        ("scoring_func", {}),
        ("moe_router_score_function", "sigmoid"),
        ("scoringFunction", "sigmoid"),
        ("score_bias_update", 0.1),
        ("sigmoid", True),
        ("use_sigmoid", True),
        ("sigmoid_temperature", 2.0),
        ("capacity", 1.25),
        ("capacity_factor", 1.0),
        ("eval_capacity_factor", 2.0),
        ("token_drop", "probs"),
        ("drop_tokens", True),
        ("token_dropping", True),
        ("sinkhorn_iterations", 3),
        ("num_activated", 4),
        ("jitter_noise", 0.1),
    ],
)
def test_a_router_of_another_kind_is_refused_by_name(key: str, value: Any) -> None:
    for fields in (*MIXTURES, config_fields()):
        with pytest.raises(ConfigError, match=f"^{key} is ") as caught:
            BitNetConfig.from_dict(fields | {key: value})
        assert f"--ignore-key {key} " in (caught.value.hint or "")
        assert BitNetConfig.from_dict(fields | {key: value}, [key]).ignored_keys == (key,)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scoring_func", "softmax"),
        ("score_function", "softmax"),
        ("sigmoid", False),
        ("capacity", None),
        ("token_drop", False),
        ("drop_path_rate", 0.0),
    ],
)
def test_a_router_of_this_kind_is_tolerated(key: str, value: Any) -> None:
    for fields in (*MIXTURES, config_fields()):
        assert BitNetConfig.from_dict(fields | {key: value}).not_read == ()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(
            ("norm_topk_prob", value, "null or True: the shares of a token's experts add up to 1")
            for value in NO_TRUE
        ),
        ("decoder_sparse_step", 2, "null or 1: every layer has experts"),
        ("decoder_sparse_step", True, "null or 1: every layer has experts"),
        ("mlp_only_layers", [0], "null: every layer has experts"),
        ("use_moe", False, "null or True: every layer has experts"),
        ("num_experts", 8, "null: another field of this network counts its experts"),
        ("num_experts", 0, "null: another field of this network counts its experts"),
        ("n_routed_experts", 4, "null: another field of this network counts its experts"),
        ("n_shared_experts", 1, "null or 0: no shared expert is counted"),
        ("num_shared_experts", 2, "null or 0: no shared expert is counted"),
    ],
)
def test_a_refusal_is_true_of_a_network_with_experts(key: str, value: Any, expected: str) -> None:
    for fields in (GRANITE, SHARED):
        with pytest.raises(ConfigError) as caught:
            BitNetConfig.from_dict(fields | {key: value})
        assert str(caught.value) == f"{key} is {value!r}, expected {expected}"
        assert f"--ignore-key {key} " in (caught.value.hint or "")


def test_a_maple_counts_its_experts_by_its_own_field() -> None:
    for key in ("num_local_experts", "n_routed_experts"):
        with pytest.raises(ConfigError, match=f"^{key} is 6, expected null: another field of"):
            BitNetConfig.from_dict(maple.CONFIG | {key: 6})
    for changes in ({"decoder_sparse_step": 2}, {"mlp_only_layers": [1]}, {"use_moe": False}):
        with pytest.raises(ConfigError, match="every layer has experts"):
            BitNetConfig.from_dict(maple.CONFIG | changes)
    with pytest.raises(ConfigError, match="use_sliding_window is False, expected one of: True"):
        BitNetConfig.from_dict(maple.CONFIG | {"use_sliding_window": False})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in ("norm_topk_prob", "decoder_sparse_step", "num_experts")),
        ("norm_topk_prob", True),
        ("decoder_sparse_step", 1),
        ("mlp_only_layers", []),
        ("use_moe", True),
        ("n_shared_experts", 0),
    ],
)
def test_a_value_that_says_what_is_computed_is_tolerated(key: str, value: Any) -> None:
    for fields in (GRANITE, SHARED):
        assert BitNetConfig.from_dict(fields | {key: value}).not_read == ()


def test_without_experts_the_values_and_reasons_are_others() -> None:
    for changes in ({"norm_topk_prob": False}, {"decoder_sparse_step": 2}, {"num_experts": 0}):
        assert BitNetConfig.from_dict(config_fields(**changes)).not_read == ()
    with pytest.raises(ConfigError, match="expected null or 0: no layer has experts"):
        BitNetConfig.from_dict(config_fields(num_experts=8))


@pytest.mark.parametrize("fields", MIXTURES, ids=["granitemoe", "granitemoeshared", "maple"])
def test_a_null_is_not_the_default_of_the_class(fields: dict[str, Any]) -> None:
    own = "num_local_experts"
    if fields is maple.CONFIG:
        own = "num_experts sliding_window partial_rotary_factor"
    for key in ("num_experts_per_tok", *own.split()):
        with pytest.raises(ConfigError, match=f"^{key} is None, expected a"):
            BitNetConfig.from_dict(fields | {key: None})
        without = {name: value for name, value in fields.items() if name != key}
        if key != "num_experts_per_tok" or fields is not maple.CONFIG:  # its default is 8, of 6
            BitNetConfig.from_dict(without)
