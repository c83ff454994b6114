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
