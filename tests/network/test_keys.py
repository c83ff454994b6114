"""Keys that nothing reads: tolerated by name and value, refused by name, ignored, or noted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.key_lists import CONFIG_KEYS, GGUF_KEYS
from bitnet_onnx.network.keys import sort_out
from tests.support.checkpoints import config_fields
from tests.support.published import CONFIGS, WRITTEN_BY_4


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("written", [{}, WRITTEN_BY_4], ids=["as published", "by transformers 4"])
def test_a_published_config_is_read_without_a_note(name: str, written: dict[str, Any]) -> None:
    config = BitNetConfig.from_dict(CONFIGS[name] | written)
    assert config.not_read == config.ignored_keys == ()
    assert config == BitNetConfig.from_dict(config.to_dict())


@pytest.mark.parametrize("name", ["BitNetConfig", "LlamaConfig", "Qwen3Config"])
def test_every_key_that_transformers_writes_is_known(name: str) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    fields = json.loads(getattr(transformers, name)().to_json_string(use_diff=False))
    if name == "LlamaConfig":
        fields["quantization_config"] = {"quant_method": "bitnet"}
    assert BitNetConfig.from_dict(fields).not_read == ()


CHANGING: list[tuple[str, Any]] = [
    ("attn_sinks", True),
    ("query_pre_attn_scalar", 256),
    ("qkNormType", "rms"),
    ("v_head_dim", 64),
    ("no_rope_layers", [0, 1]),
    ("rope_interleaved", True),
    ("post_norm", True),
    ("layernorm_epsilon", 1e-5),
    ("embedding_multiplier", 12),
    ("residual_multiplier", 0.22),
    ("attention_multiplier", 0.015625),
    ("logits_scaling", 6),
    ("scale_emb", 12),
    ("dim_model_base", 64),
    ("mup_base_width", 256),
    ("final_logit_softcapping", 30.0),
    ("clip_qkv", 8.0),
    ("sliding_window", 4096),
    ("use_sliding_window", True),
    ("layer_types", ["full_attention", "sliding_attention"]),
    ("qkv_bias", True),
    ("num_experts", 8),
    ("num_local_experts", 8),
    ("moe_intermediate_size", 64),
    ("num_nextn_predict_layers", 1),
    ("mtp_depth", 1),
    ("compression_config", {"format": "int"}),
    ("activation_bits", 4),
    ("quantization", {"group_size": 64, "bits": 2}),
    ("hadamard", True),
    ("rotation_block_size", 1024),
    ("prism_version", 1),
    ("prism.version", 1),
    ("transform", "sylvester"),
    ("lora_rank", 8),
    ("adapter_path", "x"),
    ("parallel_attn", True),
    ("position_embedding_type", "nope"),
    ("vision_config", {}),
    ("pretraining_tp", 2),
    ("wbits", 2),
    ("nbits", 2),
    ("quant_bitwidth", 2),
    ("use_int4", True),
    ("fp8", True),
    ("gptq", {}),
    ("zero_point", True),
    ("ternarized", True),
    ("quarot", True),
    ("online_had", True),
    ("use_fwht", True),
    ("orthogonal", True),
    ("sub_ln", True),
    ("use_subln", True),
    ("zero_centered_gamma", True),
    ("use_nope", True),
    ("nope_interval", 4),
    ("pos_encoding", "alibi"),
    ("softmax1", True),
    ("swa", 512),
    ("local_global_ratio", 5),
    ("lambda_init", 0.8),
    ("temperature_tuning", True),
    ("use_swiglu", False),
    ("gated", False),
    ("nonlinearity", "gelu"),
    ("total_ut_steps", 4),
    ("num_loops", 2),
    ("hyper_connections", 4),
    ("altup", True),
    ("laurel", True),
    ("use_moe", True),
    ("mlp_only_layers", [0]),
    ("lm_head_bias", True),
    ("output_multiplier_scale", 0.577),
    ("output_multiplier", 0.5),
    ("output_scale", 2.0),
    ("output_softcap", 30.0),
    ("output_bias", True),
    ("output_norm", True),
    ("output_gate", True),
    ("output_router_scale", 2.0),
    ("return_dict_scale", 2),
    ("hadamard_dropout", 1),
    ("expert_dropout", 0.5),
    ("residual_scale_pdrop", 0.5),
    ("_attn_implementation_window", 8),
    ("use_flash_attn_window", 8),
    *(
        (key, 2)
        for key in """
        trit_planes num_planes trits onebit sign_only twn_threshold outlier_channels svd_rank
        low_rank per_tensor per_token channelwise lut xpos use_xpos add_unit_offset plus_one
        mean_centering subtract_mean sandwich multiquery differential virtual_tokens prompt_tuning
        resid_gain headwise_gain
    """.split()
    ),
]


@pytest.mark.parametrize(("key", "value"), CHANGING, ids=[key for key, _ in CHANGING])
def test_a_key_that_can_change_the_network_is_refused_or_ignored_by_name(
    key: str, value: Any
) -> None:
    fields = config_fields(**{key: value})
    with pytest.raises(ConfigError, match=f"^{key} is ") as caught:
        BitNetConfig.from_dict(fields)
    assert f"--ignore-key {key} " in (caught.value.hint or "")
    assert "\n" not in str(caught.value)
    config = BitNetConfig.from_dict(fields, [key])
    assert config.ignored_keys == (key,)
    assert config == BitNetConfig.from_dict(config_fields())


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("quantization_config", "bits"),
        ("quantization_config", "weight_block_size"),
        ("rope_scaling", "high_freq_factor"),
        ("rope_scaling", "extrapolation"),
        ("rope_parameters", "full_attention"),
    ],
)
def test_every_unread_key_of_a_section_is_refused(section: str, key: str) -> None:
    inner: dict[str, Any] = {"rope_type": "linear", "factor": 2.0}
    if section == "quantization_config":
        inner = config_fields()[section]
    fields = config_fields() | {section: inner | {key: 1}}
    with pytest.raises(ConfigError, match=f"{section}.{key} is 1, which is not understood"):
        BitNetConfig.from_dict(fields)
    assert BitNetConfig.from_dict(fields, [f"{section}.{key}"]).ignored_keys == (
        f"{section}.{key}",
    )
    assert BitNetConfig.from_dict(config_fields() | {section: inner | {key: None}}).not_read == ()


def test_a_key_inside_an_object_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^vendor\.basis is given, which"):
        BitNetConfig.from_dict(config_fields(vendor={"name": "x", "basis": {"kind": 1}}))
    with pytest.raises(ConfigError, match=r"^vendor\.basis is given, which"):
        BitNetConfig.from_dict(config_fields(vendor=[{"name": "x"}, [{"basis": 1}]]))
    for harmless in ({"name": "x"}, [{"name": "x"}]):
        assert BitNetConfig.from_dict(config_fields(vendor=harmless)).not_read == ("vendor",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sliding_window", None),
        ("attention_dropout", 0.1),
        ("layer_types", ["full_attention"] * 2),
        ("num_experts", 0),
        ("logit_scale", 1.0),
        ("sparse_config", {}),
        ("foo_bias_scale", None),
        ("initializer_range", 0.1),
        ("attention_probs_dropout_prob", 0.1),
        ("embedding_dropout", 0.0),
        ("hidden_dropout_prob", 0.1),
        ("classifier_dropout", None),
        ("resid_pdrop", 0.1),
        ("embd_pdrop", 0.1),
        ("output_router_logits", True),
        ("output_hidden_states", True),
        ("return_dict_in_generate", True),
        ("_attn_implementation_autoset", True),
        ("decoder_sparse_step", 1),
        ("mlp_only_layers", []),
        ("norm_topk_prob", False),
        ("num_mtp_layers", 0),
        ("tensor_parallel_size", 1),
        ("use_moe", False),
        ("rope_interleaved", False),
        ("weight_decay", 0.1),
    ],
)
def test_a_harmless_value_is_tolerated(key: str, value: Any) -> None:
    assert BitNetConfig.from_dict(config_fields(**{key: value})).not_read == ()


def test_a_null_flag_is_false_as_in_transformers() -> None:
    assert not BitNetConfig.from_dict(config_fields(tie_word_embeddings=None)).tie_word_embeddings


def test_a_window_is_void_where_it_is_switched_off() -> None:
    fields = config_fields(sliding_window=32768, use_sliding_window=False, max_window_layers=2)
    assert BitNetConfig.from_dict(fields).not_read == ()


@pytest.mark.parametrize("key", ["license", "model_max_length", "temperature", "training"])
def test_another_key_is_noted(key: str) -> None:
    assert BitNetConfig.from_dict(config_fields() | {key: 7}).not_read == (key,)


def test_a_key_that_is_read_cannot_be_ignored() -> None:
    for key in ("hidden_size", "rope_theta", "quantization_config.linear_class"):
        with pytest.raises(ConfigError, match=f"ignore_keys names {key}, which is read"):
            BitNetConfig.from_dict(config_fields(), [key])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prism.hadamard.version", 1),
        ("prism.version", 1),
        ("acme.mode", "x"),
        ("adapter.type", "lora"),
        ("general.type", "adapter"),
        ("general.rotation", "x"),
        ("llama.expert_count", 8),
        ("llama.attention.sliding_window", 512),
        ("llama.attention.causal", False),
        ("llama.rope.scaling.yarn_ext_factor", 1.0),
        ("llama.rope.dimension_sections", [1, 2]),
        ("llama.residual_scale", 0.22),
        ("llama.hadamard", True),
        ("quantize.rotation", "x"),
        ("imatrix.hadamard", 1),
        ("split.attention", 1),
        ("tokenizer.basis", 1),
        ("general.source.hadamard", 1),
        ("general.base_model.0.rotation", 1),
        ("bitnet.context_length", 5),
    ],
)
def test_metadata_that_can_change_the_network_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{key} is ") as caught:
        sort_out({key: value}, GGUF_KEYS, read=(), prefix="llama")
    assert f"--ignore-key {key} " in (caught.value.hint or "")
    assert sort_out({key: value}, GGUF_KEYS, read=(), prefix="llama", ignore=[key]).ignored == (
        key,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.base_model.0.repo_url", "x"),
        ("quantize.imatrix.chunks_count", 5),
        ("tokenizer.ggml.precompiled_charsmap", [1]),
        ("llama.expert_count", 0),
        ("llama.logit_scale", 1.0),
        ("mradermacher.quantized_at", "x"),
        ("split.count", 2),
    ],
)
def test_metadata_that_changes_nothing_is_tolerated(key: str, value: Any) -> None:
    assert sort_out({key: value}, GGUF_KEYS, read=(), prefix="llama").noted == ()


def test_other_metadata_is_noted() -> None:
    for key in ("general.mood", "llama.mood", "mood"):
        assert sort_out({key: 1}, GGUF_KEYS, read=(), prefix="llama").noted == (key,)


def test_no_key_is_on_a_list_twice() -> None:
    for rows in (CONFIG_KEYS, GGUF_KEYS):
        names = [name for row in rows for name in row.names.split()]
        assert len(names) == len(set(names))
