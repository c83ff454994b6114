"""The config of a network from a GGUF file's metadata, as the fields of a config.json.

Knows the architectures and keys of llama.cpp and microsoft/BitNet. ``BitNetConfig`` checks the
values.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from math import isclose
from typing import Any

import numpy as np

from ...errors import CheckpointError, ConfigError
from ...network.config import BitNetConfig
from ...network.hadamard import PREFIX
from ...network.key_lists import GGUF_KEYS
from ...network.keys import Unread, sort_out
from ...network.quantization import GROUP_SIZE
from ...network.records import RECORDS, UNSUPPORTED, Network, of_architecture
from .container import TERNARY, GgufFile
from .embedding import POOLING_KEY, body_of, refuse_another_window

__all__ = [
    "ACTIVATION",
    "GgufConfig",
    "architecture",
    "refuse_another_config",
    "ternary_linears",
    "unread_keys",
]

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
EXPERTS_REQUIRED = ("num_local_experts", "num_experts_per_tok")
REQUIRED = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
IDS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}
SCALES = {  # Granite's multipliers; 0 stands for one that is not given
    "embedding_multiplier": "embedding_scale",
    "attention_multiplier": "attention.scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}
EXPERTS = {
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "shared_intermediate_size": "expert_shared_feed_forward_length",
}
ROPE_IS_ON = "rope.scaling.finetuned"  # what it says in the files of Granite
BIASES = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_gate.bias"}
ACTIVATION = "bitnet.hidden_act"  # this package's own key; llama.cpp ignores it
SENTENCEPIECE = "llama"  # its name in tokenizer.ggml.model
CHECKED = ("vocab_size", "rope.dimension_count", "attention.value_length")
SCALING = ("rope.scaling.type", "rope.scaling.factor")
# Shapes do not show these.
COMPARED = ("num_attention_heads", "num_key_value_heads", "rope_theta", "rms_norm_eps")
OTHER_SCALES = ("embedding_scale", "residual_scale", "logit_scale")  # of MiniCPM
READ = ("general.architecture", "general.alignment", "tokenizer.ggml.eot_token_id", ACTIVATION)
THETA = 10000.0  # llama.cpp's default of rope.freq_base


def ternary_linears(file: GgufFile) -> bool:
    """Return whether the first linear has a ternary type; all must have types of one kind."""
    first = file.tensors.get("blk.0.attn_q.weight")
    return first is not None and first.type in TERNARY


def architecture(file: GgufFile) -> str:
    """Return the architecture that the file names; refuse an unknown one."""
    found = file.scalar("general.architecture")
    if isinstance(found, str) and found in UNSUPPORTED:
        file.refuse("general.architecture", f"is {found!r}, {UNSUPPORTED[found]}")
    if not isinstance(found, str) or not of_architecture(found):
        known = dict.fromkeys(a for n in RECORDS.values() for a in n.gguf.architectures)
        file.refuse("general.architecture", f"is {found!r}, expected one of: {', '.join(known)}")
    return found


def unread_keys(
    file: GgufFile, network: Network, beside: bool, ignore: Collection[str] = ()
) -> Unread:
    """Sort out the metadata that nothing reads; raise CheckpointError naming the file and the key.

    beside: whether a config.json beside the file is read in its place.
    """
    prefix = file.scalar("general.architecture")
    names = [*_keys(network).values(), *CHECKED, *SCALING]
    if beside and network.scales:
        names += OTHER_SCALES
    if network.task == "embedding":
        names += [POOLING_KEY, *(["attention.sliding_window"] if network.sandwich else [])]
    read = {*READ, *IDS.values(), *(f"{prefix}.{name}" for name in names)}
    if beside:
        read |= {key for key in file.fields if key.startswith(f"{prefix}.rope.")}
    if network.prism:
        read |= {key for key in file.fields if key.startswith(PREFIX)} - set(ignore)
    found: dict[str, Any] = {}
    for key in file.fields:
        if not key.startswith("tokenizer."):
            value = file.fields.peek(key)
            found[key] = value.tolist() if isinstance(value, np.ndarray) else value
    found |= dict.fromkeys(set(ignore) & file.fields.keys())
    try:
        return sort_out(found, GGUF_KEYS, read=read, ignore=ignore, prefix=str(prefix))
    except ConfigError as error:
        raise CheckpointError(f"{file.path}: {error}", hint=error.hint) from None


def refuse_another_config(file: GgufFile, config: BitNetConfig) -> None:
    """Refuse a config.json beside the file that contradicts its metadata."""
    prefix = file.scalar("general.architecture")
    keys = _keys(config.record)
    for name in (*COMPARED, *(name for name in config.record.scales if name in SCALES)):
        key, expected = f"{prefix}.{keys[name]}", getattr(config, name)
        found = file.fields.get(key)
        if found == 0 and name in SCALES:
            continue
        if isinstance(found, (int, float)) and not isclose(found, expected, rel_tol=1e-6):
            file.refuse(
                key,
                f"is {found!r}, but {name} is {expected!r} in the config.json beside the file",
                hint="put the config.json of the same model beside the file, or none",
            )
    refuse_another_window(file, str(prefix), config)


def _keys(network: Network) -> dict[str, str]:
    """Return the key of each field that a network has, without its prefix."""
    scales = {name: key for name, key in SCALES.items() if name in network.scales}
    return FIELDS | scales | (EXPERTS if network.experts else {})


class GgufConfig:
    """The metadata of a file as a config; ``notes`` lists what ``config()`` assumed."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.architecture = architecture(file)
        self.notes: list[str] = []

    def config(self) -> BitNetConfig:
        """Return the config; raise ConfigError or CheckpointError naming the file and the key."""
        if not all(n.gguf.metadata_suffices for n in of_architecture(self.architecture)):
            self._file.refuse(
                "general.architecture",
                f"is {self.architecture!r}, whose scales and rotary factors are only in a "
                "config.json",
                hint="put the config.json of the original checkpoint beside the file",
            )
        fields, keys = self._fields()
        try:
            config = BitNetConfig.from_dict(fields, body=partial(body_of, self._file))
        except ConfigError as error:
            # The message begins with a field of config.json; the file has another key for it.
            key = keys.get(str(error).split(" ", 1)[0])
            where = f"{key} as " if key else ""
            raise ConfigError(f"{self._file.path}: {where}{error}", hint=error.hint) from None
        for name in ("rope.dimension_count", "attention.value_length"):
            key = f"{self.architecture}.{name}"
            if (found := self._file.scalar(key)) not in (None, config.head_dim):
                self._file.refuse(key, f"is {found!r}, expected head_dim {config.head_dim}")
        key = f"{self.architecture}.vocab_size"
        if (found := self._file.scalar(key)) not in (None, config.vocab_size):
            rows = f"the {config.vocab_size} rows of token_embd.weight"
            self._file.refuse(key, f"is {found!r}, expected {rows}")
        return config

    def _fields(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the metadata as fields of a config.json, and the key of each field."""
        file, prefix = self._file, self.architecture
        network = self._network()
        keys = {name: f"{prefix}.{key}" for name, key in _keys(network).items()} | IDS
        fields: dict[str, Any] = {
            "model_type": network.model_type,
            "architectures": [network.architecture],
            "hidden_act": network.hidden_act,
        }
        for name, key in keys.items():
            value = file.scalar(key)
            if value is not None:
                fields[name] = value
            elif name in REQUIRED or name == "logits_scaling" or name in EXPERTS_REQUIRED:
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
        fields["quantization_config"] = self._quantization(network)
        for name in network.biases:
            fields[name] = BIASES[name] in file.tensors
        self._complete_scales(network, fields)
        return fields, keys

    def _complete_scales(self, network: Network, fields: dict[str, Any]) -> None:
        """Fill in the multipliers that a file leaves out, and refuse one without rotary positions.

        Without attention.scale llama.cpp divides by the square root of head_dim.
        """
        optional = [name for name in network.scales if name in SCALES and name != "logits_scaling"]
        for name in optional:
            if fields.get(name) == 0:
                del fields[name]
        if "attention_multiplier" in optional and "attention_multiplier" not in fields:
            heads = fields["num_attention_heads"]
            head_dim = fields.get("head_dim") or (heads and fields["hidden_size"] // heads)
            fields["attention_multiplier"] = head_dim**-0.5 if head_dim else 1.0
        key = f"{self.architecture}.{ROPE_IS_ON}"
        if optional and self._file.scalar(key) is False:
            self._file.refuse(
                key, "is False, expected True: a network without rotary positions is not supported"
            )

    def _quantization(self, network: Network) -> dict[str, Any] | None:
        """Return the section that the types of the linears stand for, None for float ones."""
        if network.weights == "float" and not ternary_linears(self._file):
            return None
        section = {
            "quant_method": "bitnet",
            "quantization_mode": "offline",
        }
        if network.gguf.grouped:
            return {**section, "group_size": GROUP_SIZE}
        return {**section, "linear_class": "autobitlinear"}

    def _network(self) -> Network:
        """Return the architecture's network; of two, the activation or the tokenizer decides.

        Converters call both 1bitLLM's network and 2B-4T ``bitnet``. Only files that this package
        wrote name the activation; 1bitLLM's come with a SentencePiece tokenizer.
        """
        networks = of_architecture(self.architecture)
        shared = self._file.scalar(f"{self.architecture}.{EXPERTS['shared_intermediate_size']}")
        networks = [n for n in networks if n.shared_expert == bool(shared)] or networks
        embeds = body_of(self._file).embedding
        networks = [n for n in networks if (n.task == "embedding") is embeds] or networks
        if len(networks) == 1:
            return networks[0]
        activation = self._file.scalar(ACTIVATION)
        for network in networks:
            if activation == network.hidden_act:
                return network
        if activation is not None:
            listed = " or ".join(repr(network.hidden_act) for network in networks)
            self._file.refuse(ACTIVATION, f"is {activation!r}, expected {listed}")
        sentencepiece = self._file.scalar("tokenizer.ggml.model") == SENTENCEPIECE
        network = next(n for n in networks if n.gguf.sentencepiece == sentencepiece)
        self.notes.append(
            f"the architecture {self.architecture!r} does not name its activation: "
            f"{network.hidden_act} is assumed from the tokenizer; a config.json beside the file "
            "would name it"
        )
        return network

    def _rope_scaling(self) -> dict[str, Any] | None:
        """Return the scaling of positions, None for none; some converters write linear by 1."""
        prefix = f"{self.architecture}.rope.scaling."
        kind, factor = (self._file.scalar(f"{prefix}{name}") for name in ("type", "factor"))
        if kind == "none" or (factor in (None, 0, 1) and kind in (None, "linear")):
            return None
        # llama.cpp takes a factor without a type for a linear one.
        scaling = {"rope_type": kind or "linear", "factor": factor}
        if kind != "yarn":
            return scaling
        original = self._file.scalar(f"{prefix}original_context_length")
        return scaling | {"original_max_position_embeddings": original}
