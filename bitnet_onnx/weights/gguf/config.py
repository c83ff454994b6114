"""The config of a network from a GGUF file's metadata, in the words of a config.json.

Knows the architectures and keys of llama.cpp and microsoft/BitNet; what the values may be is for
``BitNetConfig`` to say.
"""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError
from ...network.config import BitNetConfig
from .container import GgufFile

__all__ = ["ACTIVATION", "GgufConfig", "architecture"]

# What these architectures say of a config.json. ``bitnet`` is two networks: see ``_fields``.
TWO_B = {"model_type": "bitnet", "hidden_act": "relu2"}
ONE_BIT_LLM = {
    "model_type": "llama",
    "architectures": ["BitnetForCausalLM"],
    "hidden_act": "silu",
}
ARCHITECTURES = {
    "bitnet": TWO_B,
    "bitnet-25": TWO_B,
    "bitnet-b1.58": TWO_B,
    "llama": {"model_type": "llama", "hidden_act": "silu"},
    "qwen3": {"model_type": "qwen3", "hidden_act": "silu"},
    "minicpm": {"model_type": "minicpm", "hidden_act": "silu"},
}
FIELDS = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
REQUIRED = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
IDS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}
ACTIVATION = "bitnet.hidden_act"  # no key of llama.cpp's, which reads what it knows
YARN = ("type", "factor", "original_context_length", "finetuned")
THETA = 10000.0  # llama.cpp's, where rope.freq_base is missing


def architecture(file: GgufFile) -> str:
    """The architecture that the file names, refused when it is none of ours."""
    found = file.scalar("general.architecture")
    if not isinstance(found, str) or found not in ARCHITECTURES:
        file.refuse(
            "general.architecture",
            f"is {found!r}, expected one of: {', '.join(ARCHITECTURES)}",
        )
    return found


class GgufConfig:
    """``notes`` is what had to be assumed for ``config()``."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.architecture = architecture(file)
        self.notes: list[str] = []

    def config(self) -> BitNetConfig:
        """Raises ConfigError or CheckpointError naming the file and the key."""
        if self.architecture == "minicpm":
            self._file.refuse(
                "general.architecture",
                "is 'minicpm', whose scales and rotary factors are read from a config.json alone",
                hint="put the config.json of the original checkpoint beside the file",
            )
        fields, keys = self._fields()
        try:
            config = BitNetConfig.from_dict(fields)
        except ConfigError as error:
            # The message begins with a name of config.json: say where this file has it.
            key = keys.get(str(error).split(" ", 1)[0])
            where = f"{key} as " if key else ""
            raise ConfigError(f"{self._file.path}: {where}{error}", hint=error.hint) from None
        for name in ("rope.dimension_count", "attention.value_length"):
            key = f"{self.architecture}.{name}"
            if (found := self._file.scalar(key)) not in (None, config.head_dim):
                self._file.refuse(key, f"is {found!r}, expected head_dim {config.head_dim}")
        return config

    def _fields(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The metadata in config.json's words, and which key each came from."""
        file, prefix = self._file, self.architecture
        keys = {name: f"{prefix}.{key}" for name, key in FIELDS.items()} | IDS
        fields: dict[str, Any] = {**self._network()}
        for name, key in keys.items():
            value = file.scalar(key)
            if value is not None:
                fields[name] = value
            elif name in REQUIRED:
                file.refuse(key, "is missing")
        fields.setdefault("rope_theta", THETA)
        fields["rope_scaling"] = self._rope_scaling()
        eot = file.scalar("tokenizer.ggml.eot_token_id")
        if eot is not None and "eos_token_id" in fields and eot != fields["eos_token_id"]:
            fields["eos_token_id"] = [fields["eos_token_id"], eot]
        table = file.tensors.get("token_embd.weight")
        if table is None:
            file.refuse("token_embd.weight", "is missing", "download the file again")
        fields["vocab_size"] = table.shape[0]
        fields["tie_word_embeddings"] = "output.weight" not in file.tensors
        if self.architecture != "qwen3":  # whose metadata says all there is to say
            fields["quantization_config"] = {
                "quant_method": "bitnet",
                "linear_class": "autobitlinear",
                "quantization_mode": "offline",
            }
        return fields, keys

    def _network(self) -> dict[str, Any]:
        """``bitnet`` is what converters call both 1bitLLM's network and 2B-4T.

        They differ in the activation, which only our own files name; 1bitLLM's come with a
        SentencePiece tokenizer.
        """
        if self.architecture != "bitnet":
            return ARCHITECTURES[self.architecture]
        activation = self._file.scalar(ACTIVATION)
        for kind in (TWO_B, ONE_BIT_LLM):
            if activation == kind["hidden_act"]:
                return kind
        if activation is not None:
            self._file.refuse(ACTIVATION, f"is {activation!r}, expected 'relu2' or 'silu'")
        one_bit_llm = self._file.scalar("tokenizer.ggml.model") == "llama"
        kind = ONE_BIT_LLM if one_bit_llm else TWO_B
        self.notes.append(
            "the architecture 'bitnet' does not name its activation: "
            f"{kind['hidden_act']} is assumed, going by the tokenizer; a config.json beside the "
            "file would say"
        )
        return kind

    def _rope_scaling(self) -> dict[str, Any] | None:
        """None where positions are as they are, which converters also call linear by 1."""
        prefix = f"{self.architecture}.rope.scaling."
        kind, factor = (self._file.scalar(f"{prefix}{name}") for name in ("type", "factor"))
        if kind in (None, "none") or (kind == "linear" and factor in (None, 1)):
            return None
        scaling = {"rope_type": kind, "factor": factor}
        if kind != "yarn":
            return scaling
        for key in self._file.fields:
            if key.startswith(prefix) and key.removeprefix(prefix) not in YARN:
                self._file.refuse(
                    key,
                    "is not understood",
                    hint="put the config.json of the original checkpoint beside the file",
                )
        original = self._file.scalar(f"{prefix}original_context_length")
        return scaling | {"original_max_position_embeddings": original}
