"""Fields of a config.json are read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.records import RECORDS
from bitnet_onnx.network.rope import RopeScaling
from tests.support.checkpoints import config_fields

# The sizes of microsoft/bitnet-b1.58-2B-4T, as published.
PUBLISHED = {
    "architectures": ["BitNetForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_bitnet.BitNetConfig"},
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "hidden_act": "relu2",
    "hidden_size": 2560,
    "initializer_range": 0.02,
    "intermediate_size": 6912,
    "max_position_embeddings": 4096,
    "model_type": "bitnet",
    "rms_norm_eps": 1e-05,
    "num_attention_heads": 20,
    "num_hidden_layers": 30,
    "num_key_value_heads": 5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 128256,
    "quantization_config": {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    },
}

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
QUANTIZATION = {"quant_method": "bitnet", "linear_class": "autobitlinear"}

REFUSED: list[tuple[str, Any]] = [
    ("model_type", "qwen2"),
    ("model_type", None),
    ("hidden_act", "silu"),
    ("attention_bias", True),
    ("mlp_bias", True),
    ("weight_bits", 2),
    ("quantization_groups", 2),
    ("partial_rotary_factor", 0.5),
    ("rope_scaling.type", {"type": "dynamic", "factor": 2}),
    ("rope_scaling.rope_type", {"rope_type": "su", "type": "linear", "factor": 2}),
    ("rope_scaling.factor", {"type": "linear"}),
    ("rope_scaling.low_freq_factor", {"rope_type": "llama3", "factor": 8}),
    ("rope_scaling.high_freq_factor", LLAMA3 | {"high_freq_factor": 1}),
    ("rope_scaling.partial_rotary_factor", {"rope_type": "default", "partial_rotary_factor": 0.5}),
    ("rope_scaling.original_max_position_embeddings", LLAMA3 | {
        "original_max_position_embeddings": 0}),
    ("rope_parameters", "default"),
    ("rope_parameters.rope_type", {"rope_type": "proportional", "rope_theta": 1e4}),
    ("rope_parameters.factor", {"rope_type": "yarn", "rope_theta": 1e4}),
    ("rope_parameters.factor", {"rope_type": "yarn", "factor": 0.5}),
    ("rope_parameters.mscale", YARN | {"mscale": 1.0}),
    ("rope_parameters.truncate", YARN | {"truncate": False}),
    ("rope_parameters.beta_fast", YARN | {"beta_fast": 1}),
    ("rope_parameters.attention_factor", YARN | {"attention_factor": -1}),
    ("rope_scaling.short_factor", {"rope_type": "longrope"}),
    ("rope_scaling.short_factor has 7", LONGROPE | {"short_factor": [1.0] * 7}),
    ("rope_scaling.long_factor", LONGROPE | {"long_factor": [0.0] * 8}),
    ("rope_scaling.attention_factor", LONGROPE | {"attention_factor": 1.2}),
    ("rope_scaling.original_max_position_embeddings is 32", LONGROPE | {
        "original_max_position_embeddings": 32}),
    ("rope_parameters.rope_type", {"rope_type": ["default"]}),
    ("rope_theta", 0),
    ("rope_theta", "1e4"),
    ("rope_theta", float("nan")),
    ("rope_theta", 1e39),
    ("vocab_size", 0),
    ("vocab_size", True),
    ("vocab_size", 1 << 40),
    ("hidden_size", None),
    ("hidden_size", 64.0),
    ("hidden_size", "64"),
    ("hidden_size", 65),
    ("hidden_size", 1 << 18),
    ("intermediate_size", -1),
    ("intermediate_size", [160]),
    ("num_hidden_layers", 0),
    ("num_hidden_layers", 10**9),
    ("num_attention_heads", 3),
    ("num_attention_heads", None),
    ("num_key_value_heads", 3),
    ("num_key_value_heads", 8),
    ("head_dim", 5),
    ("head_dim", 32),
    ("max_position_embeddings", 0),
    ("rms_norm_eps", float("inf")),
    ("rms_norm_eps", -1e-5),
    ("rms_norm_eps", None),
    ("tie_word_embeddings", "true"),
    ("tie_word_embeddings", 0),
    ("bos_token_id", 96),
    ("bos_token_id", [0, 1]),
    ("bos_token_id", "0"),
    ("eos_token_id", [1, -1]),
    ("eos_token_id", True),
    ("eos_token_id", {"id": 1}),
    ("pad_token_id", 1.5),
    ("quantization_config", "bitnet"),
    ("quantization_config.quant_method", QUANTIZATION | {"quant_method": "gptq"}),
    ("quantization_config.linear_class", QUANTIZATION | {"linear_class": "other"}),
    ("quantization_config.quantization_mode", QUANTIZATION | {"quantization_mode": "later"}),
    ("quantization_config.group_size", QUANTIZATION | {"group_size": 128}),
    ("quantization_config.activations", QUANTIZATION | {"activations": "int8"}),
    ("quantization_config.use_rms_norm", QUANTIZATION | {"use_rms_norm": 1}),
    ("quantization_config.rms_norm_eps", QUANTIZATION | {"use_rms_norm": True, "rms_norm_eps": 0}),
    ("quantization_config.modules_to_not_convert", QUANTIZATION | {"modules_to_not_convert": []}),
    ("quantization_config.modules_to_not_convert", QUANTIZATION | {
        "modules_to_not_convert": "lm_head"}),
    ("quantization_config.modules_to_not_convert leaves model", QUANTIZATION | {
        "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.up_proj"]}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_an_unsupported_value_is_refused_by_name(field: str, value: Any) -> None:
    fields = config_fields(**{field.partition(".")[0]: value})
    with pytest.raises(ConfigError, match=field.partition(".")[2] or field):
        BitNetConfig.from_dict(fields)


def test_a_number_beyond_the_range_of_floats_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="rope_theta"):
        BitNetConfig.from_dict(config_fields(rope_theta=10**400))


def test_the_published_config_is_read() -> None:
    config = BitNetConfig.from_dict(PUBLISHED)
    assert (config.head_dim, config.eos_token_id) == (128, (128001,))
    assert config.tie_word_embeddings
    assert config.quantization == "offline"
    assert not config.divide_by_scale
    assert config.pad_token_id is None


def test_rope_theta_is_read_from_both_places() -> None:
    old = config_fields(rope_theta=1e4)
    new = config_fields(rope_parameters={"rope_type": "default", "rope_theta": 2e4})
    assert BitNetConfig.from_dict(old).rope_theta == 1e4
    assert BitNetConfig.from_dict(new).rope_theta == 2e4
    assert BitNetConfig.from_dict(old | {"rope_scaling": {}, "rope_parameters": {}}) == (
        BitNetConfig.from_dict(old)
    )
    del old["rope_theta"]
    assert BitNetConfig.from_dict(old).rope_theta == 500000.0


def test_rope_scaling_is_read_from_both_places() -> None:
    old = BitNetConfig.from_dict(config_fields(rope_scaling=LLAMA3))
    new = BitNetConfig.from_dict(config_fields(rope_parameters=LLAMA3 | {"rope_theta": 5e5}))
    assert old == new
    assert old.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 32)
    without = {name: LLAMA3[name] for name in LLAMA3 if not name.startswith("original")}
    found = BitNetConfig.from_dict(config_fields(rope_scaling=without)).rope_scaling
    assert found == RopeScaling("llama3", 8.0, 1.0, 4.0, 64)  # max_position_embeddings
    linear = config_fields(rope_scaling={"type": "linear", "factor": 2})
    assert BitNetConfig.from_dict(linear).rope_scaling == RopeScaling("linear", 2.0)


LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_act": "silu"}
# As published in 1bitLLM/bitnet_b1_58-3B.
ONE_BIT_LLM: dict[str, Any] = LLAMA | {
    "architectures": ["BitnetForCausalLM"],
    "weight_bits": 1,
    "input_bits": 8,
    "rope_scaling": None,
    "quantization_config": None,
}
FIRST: dict[str, Any] = {
    "model_type": "bitnet_2023",
    "hidden_act": "silu",
    "quantization_config": None,
}

WIDE: dict[str, Any] = {
    "hidden": 256,
    "inner": 384,
    "hidden_act": "silu",
    "quantization_config": None,
}
BONSAI: dict[str, Any] = WIDE | {"model_type": "qwen3", "head_dim": 128}
MINICPM: dict[str, Any] = WIDE | {
    "model_type": "minicpm",
    "scale_emb": 12,
    "scale_depth": 1.4,
    "dim_model_base": 64,
    "rope_scaling": LONGROPE | {"short_factor": [1.0] * 32, "long_factor": [2.0] * 32},
}
GROUPED: dict[str, Any] = {"quant_method": "bitnet", "group_size": 128}

GROUPED_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("hidden_size is 320, expected a multiple of 128", {"hidden": 320}),
    (r"num_attention_heads \* head_dim is 192, expected a multiple of 128", {"head_dim": 48}),
    ("intermediate_size is 400, expected a multiple of 128", {"inner": 400}),
    ("attention_bias is True", {"attention_bias": True}),
    ("use_sliding_window is True", {"use_sliding_window": True}),
    ("layer_types is", {"layer_types": ["full_attention", "sliding_attention"]}),
    ("sparse_config is", {"sparse_config": {"kernel_size": 32}}),
    ("quant_method is 'gptq'", {"quantization_config": GROUPED | {"quant_method": "gptq"}}),
    ("group_size is 64, expected one of: 128", {
        "quantization_config": GROUPED | {"group_size": 64}}),
    ("linear_class is 'bitlinear'", {
        "quantization_config": GROUPED | {"linear_class": "bitlinear"}}),
    ("use_rms_norm is True", {"quantization_config": GROUPED | {"use_rms_norm": True}}),
    ("activations is 'int4'", {"quantization_config": GROUPED | {"activations": "int4"}}),
    ("quantization_mode is 'later'", {
        "quantization_config": GROUPED | {"quantization_mode": "later"}}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "changes"), GROUPED_REFUSED)
def test_a_network_with_group_scales_refuses_other_values(
    message: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        BitNetConfig.from_dict(config_fields(**BONSAI | {"quantization_config": GROUPED} | changes))


def test_the_scales_of_minicpm_are_read_and_have_defaults() -> None:
    config = BitNetConfig.from_dict(config_fields(**MINICPM))
    assert (config.scale_emb, config.scale_depth, config.dim_model_base) == (12.0, 1.4, 64)
    bare = config_fields(**WIDE, model_type="minicpm")
    del bare["tie_word_embeddings"]
    config = BitNetConfig.from_dict(bare)  # the defaults of OpenBMB's class
    assert (config.scale_emb, config.scale_depth, config.dim_model_base) == (1.0, 1.0, 1)
    assert config.tie_word_embeddings
    for name in ("scale_emb", "scale_depth", "dim_model_base"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            BitNetConfig.from_dict(config_fields(**MINICPM | {name: 0}))
        with pytest.raises(ConfigError, match=f"^{name} is None"):
            BitNetConfig.from_dict(config_fields(**MINICPM | {name: None}))


def test_the_quantization_of_groups_is_read() -> None:
    def config(**section: Any) -> BitNetConfig:
        given = {"quantization_config": GROUPED | section}
        return BitNetConfig.from_dict(config_fields(**BONSAI | given))

    assert (config().quantization, config().group_size, config().float_activations) == (
        "offline",
        128,
        True,
    )
    assert not config(activations="int8").float_activations
    online = config(quantization_mode="online")
    assert (online.quantization, online.float_activations) == ("online", True)
    bare = config_fields(**BONSAI | {"head_dim": None})
    assert BitNetConfig.from_dict(bare).head_dim == 128  # the default of its class, not 256 / 4


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "granite"])
def test_without_a_quantization_config_linears_are_float(model_type: str) -> None:
    def config(**changes: Any) -> BitNetConfig:
        given = WIDE | {"hidden": 320, "inner": 400, "model_type": model_type}
        return BitNetConfig.from_dict(config_fields(**given | changes))

    plain = config()
    assert (plain.quantization, plain.float_linears) == ("float", True)
    assert (plain.group_size, plain.float_activations) == (None, True)
    assert config(attention_bias=True).attention_bias
    ternary = config(quantization_config=QUANTIZATION)
    assert (ternary.quantization, ternary.float_linears) == ("offline", False)
    assert config(quantization_config=QUANTIZATION, attention_bias=True).attention_bias
    whole = config(hidden=256, inner=384, head_dim=64)
    grouped = whole.grouped()
    assert (grouped.group_size, grouped.quantization) == (128, "offline")
    for one in (plain, whole, grouped, ternary, config(attention_bias=True)):
        assert BitNetConfig.from_dict(one.to_dict()) == one


def test_the_multipliers_of_granite_are_read_and_have_defaults() -> None:
    granite: dict[str, Any] = WIDE | {"model_type": "granite"}
    names = RECORDS["granite"].scales
    config = BitNetConfig.from_dict(config_fields(**granite))
    assert [getattr(config, name) for name in names] == [1.0] * 4
    for number, name in enumerate(names):
        value = 0.25 + number
        config = BitNetConfig.from_dict(config_fields(**granite | {name: value}))
        assert getattr(config, name) == value
        assert BitNetConfig.from_dict(config.to_dict()) == config
        for wrong in (0, -1, "1", None, True):
            with pytest.raises(ConfigError, match=f"{name} is "):
                BitNetConfig.from_dict(config_fields(**granite | {name: wrong}))
        with pytest.raises(ConfigError, match=f"{name} is 12"):
            BitNetConfig.from_dict(config_fields(**LLAMA | {name: 12}))


def test_the_first_bitnet_refuses_wrong_quantization_fields() -> None:
    with pytest.raises(ConfigError, match="quantization_groups is 3, expected a divisor of"):
        BitNetConfig.from_dict(config_fields(**FIRST, quantization_groups=3))
    with pytest.raises(ConfigError, match="is given, expected none for model_type 'bitnet_2023'"):
        BitNetConfig.from_dict(config_fields(**FIRST | {"quantization_config": QUANTIZATION}))


def test_a_config_names_its_network() -> None:
    def network(**changes: Any) -> str:
        return BitNetConfig.from_dict(config_fields(**changes)).network

    assert network() == "bitnet"
    assert network(**LLAMA) == "llama"
    assert network(**ONE_BIT_LLM) == "bitnet_b1_58"
    assert network(**ONE_BIT_LLM | {"architectures": None}) == "bitnet_b1_58"
    assert network(**ONE_BIT_LLM | {"model_type": "bitnet"}) == "bitnet_b1_58"
    assert network(weight_bits=1, input_bits=8) == "bitnet"
    assert network(**FIRST, weight_bits=1) == "bitnet_2023"
    assert network(**LLAMA, quantization_config=None) == "llama"
    with pytest.raises(ConfigError, match="'qwen2', expected one of: 'bitnet', 'llama'"):
        network(model_type="qwen2")
    assert network(**BONSAI) == "qwen3"
    assert network(**MINICPM) == "minicpm"


def test_defaults_are_those_of_the_network() -> None:
    llama = config_fields(**LLAMA, head_dim=32)
    del llama["rope_theta"], llama["rms_norm_eps"]
    config = BitNetConfig.from_dict(llama)
    assert (config.rope_theta, config.rms_norm_eps) == (1e4, 1e-6)
    assert config.num_attention_heads * config.head_dim == 2 * config.hidden_size


def test_a_bitlinear_is_packed_in_every_mode() -> None:
    section = {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "online"}
    assert BitNetConfig.from_dict(config_fields(quantization_config=section)).quantization == (
        "offline"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "eos_token_id": [1, 2], "pad_token_id": 3},
        {"packed": False, "head_dim": 16},
        {"bos_token_id": None, "eos_token_id": None},
        {"quantization_config": QUANTIZATION | {"linear_class": "bitlinear"}},
        {"quantization_config": None},
        {"rope_scaling": LLAMA3},
        {"rope_scaling": {"type": "linear", "factor": 2}},
        {"rope_scaling": YARN},
        {"rope_scaling": YARN | {"attention_factor": 1.5, "beta_fast": 16, "beta_slow": 2}},
        BONSAI,
        BONSAI | {"quantization_config": GROUPED | {"activations": "int8"}},
        BONSAI | {"quantization_config": GROUPED | {"quantization_mode": "online"}},
        MINICPM,
        LLAMA | {"head_dim": 32},
        LLAMA | {"quantization_config": QUANTIZATION | {"use_rms_norm": True}},
        ONE_BIT_LLM,
        FIRST | {"quantization_groups": 4},
    ],
)
def test_a_config_survives_a_round_trip(changes: dict[str, Any]) -> None:
    config = BitNetConfig.from_dict(config_fields(**changes))
    assert BitNetConfig.from_dict(config.to_dict()) == config
    assert BitNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_linear_class_decides_whether_weight_scale_divides() -> None:
    for name, divides in (("bitlinear", True), ("autobitlinear", False)):
        fields = config_fields(quantization_config=QUANTIZATION | {"linear_class": name})
        assert BitNetConfig.from_dict(fields).divide_by_scale is divides


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"{",
        b'{"model_type": "bitnet"',
        b"[1, 2]",
        b"null",
        b"3",
        b'"bitnet"',
        b"[" * 100_000,
        b'{"vocab_size": 1' + b"0" * 5000 + b"}",
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        BitNetConfig.from_file(path)


def test_a_missing_file_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        BitNetConfig.from_file(tmp_path / "config.json")
    assert caught.value.hint
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        BitNetConfig.from_file(tmp_path / "config.json")


def test_a_wrong_field_names_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_fields(hidden_act="silu")))
    with pytest.raises(ConfigError, match=r"config\.json: hidden_act is 'silu'"):
        BitNetConfig.from_file(path)
