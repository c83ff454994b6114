"""config.json of a network that embeds texts: what the tensors decide, and Gemma's own fields."""

from __future__ import annotations

from typing import Any

import pytest

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.network.body import Body, canonical
from bitnet_onnx.network.config import BitNetConfig
from tests.support.embedding.networks import GEMMA3, ONLINE, QWEN3

GEMMA = {
    **GEMMA3,
    "model_type": "gemma3_text",
    "quantization_config": ONLINE,
    "hidden_activation": "gelu_pytorch_tanh",
}
QWEN = {**QWEN3, "model_type": "qwen3", "quantization_config": ONLINE}
Q = "layers.0.self_attn.q_proj"


def read(fields: dict[str, Any], *names: str, **changes: Any) -> BitNetConfig:
    given = {name: value for name, value in {**fields, **changes}.items() if value != "none"}
    body = (lambda: Body.of(names)) if names else None
    return BitNetConfig.from_dict(given, body=body)


@pytest.mark.parametrize(
    ("names", "network", "eps"),
    [
        ([f"{Q}.weight", f"{Q}.norm.weight"], "qwen3_embedding", 1e-6),
        ([f"model.{Q}.weight", f"model.{Q}.norm.weight"], "qwen3_embedding", 1e-6),
        ([f"{Q}.weight", f"{Q}.rms_norm.weight"], "qwen3_embedding", 1e-6),
        ([f"{Q}.weight"], "qwen3_embedding", None),
        ([f"model.{Q}.weight"], "qwen3", None),
        ([f"model.{Q}.weight", f"model.{Q}.rms_norm.weight"], "qwen3", None),
    ],
)
def test_the_tensors_decide_which_qwen3_it_is(
    names: list[str], network: str, eps: float | None
) -> None:
    config = read(QWEN, *names)
    assert (config.network, config.linear_norm_eps) == (network, eps)
    assert BitNetConfig.from_dict(config.to_dict()) == config


def test_an_architecture_of_another_type_decides_nothing() -> None:
    fields = {**QWEN, "model_type": "llama", "architectures": ["Qwen3Model"]}
    assert read(fields, f"{Q}.weight").network == "llama"
    assert read({**QWEN, "architectures": ["Qwen3Model"]}).network == "qwen3_embedding"
    assert read({**QWEN, "architectures": ["Qwen3ForCausalLM"]}).network == "qwen3"


def test_the_norms_eps_is_the_sections_or_the_bodys() -> None:
    names = [f"{Q}.weight", f"{Q}.norm.weight"]
    assert read(QWEN, *names, rms_norm_eps=1e-5).linear_norm_eps == 1e-5
    section = {**ONLINE, "use_rms_norm": True, "rms_norm_eps": 3e-6}
    assert read(QWEN, *names, quantization_config=section).linear_norm_eps == 3e-6


def test_names_become_those_of_the_modules() -> None:
    assert canonical(f"{Q}.norm.weight") == f"model.{Q}.rms_norm.weight"
    assert canonical(f"model.{Q}.weight") == f"model.{Q}.weight"
    assert canonical("norm.weight") == "model.norm.weight"
    assert canonical("layers.1.self_attn.q_norm.weight") == "model.layers.1.self_attn.q_norm.weight"
    assert canonical("lm_head.weight") == "lm_head.weight"


def test_gemmas_fields_are_read_in_both_dialects() -> None:
    old = read(GEMMA, f"{Q}.weight")
    assert old.gemma is not None
    assert (old.rope_theta, old.gemma.local_theta, old.gemma.query_pre_attn_scalar) == (
        1e6,
        1e4,
        32,
    )
    assert old.gemma.sliding == (True, False, True)
    assert old.gemma.window == 512
    assert old.embedding_multiplier == 8.0
    nested = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    gone = {"rope_theta": "none", "rope_local_base_freq": "none"}
    assert read(GEMMA, f"{Q}.weight", rope_parameters=nested, **gone) == old
    assert read(GEMMA, f"{Q}.weight", rope_parameters=None, **gone) == old  # the defaults
    assert BitNetConfig.from_dict(old.to_dict()) == old
    scaled = read(GEMMA, f"{Q}.weight", rope_scaling={"rope_type": "linear", "factor": 8.0})
    assert scaled.rope_scaling is not None
    assert BitNetConfig.from_dict(scaled.to_dict()) == scaled
    pattern = read(GEMMA, f"{Q}.weight", layer_types=None, sliding_window_pattern=2)
    assert pattern.gemma is not None
    assert pattern.gemma.sliding == (True, False, True)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"hidden_activation": "silu"}, "hidden_activation is 'silu'"),
        ({"hidden_act": "silu"}, "hidden_act is 'silu'"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries, expected num_hidden"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types is .* expected a list of"),
        ({"layer_types": 3}, "layer_types is 3"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar is 0"),
        ({"sliding_window": -1}, "sliding_window is -1"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"rope_local_base_freq": "x"}, "rope_local_base_freq is 'x'"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters.rope_type is given"),
        (
            {"rope_parameters": {"sliding_attention": {"rope_type": "yarn", "factor": 2.0}}},
            "rope_parameters.sliding_attention.rope_type is 'yarn'",
        ),
        ({"rope_parameters": {"full_attention": 3}}, "rope_parameters is 3|expected an object"),
        ({"attention_bias": True}, "attention_bias is True"),
    ],
)
def test_what_gemma_could_mean_otherwise_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        read(GEMMA, f"{Q}.weight", f"{Q}.norm.weight", **changes)


@pytest.mark.parametrize(
    "key", ["sliding_window", "query_pre_attn_scalar", "sliding_window_pattern"]
)
def test_a_null_of_gemma_is_not_the_default_of_the_class(key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} is None, expected an integer"):
        read(GEMMA, f"{Q}.weight", **{key: None})
    read(GEMMA, f"{Q}.weight", **{key: "none"})
