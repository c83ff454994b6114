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
import torch

from ...errors import CheckpointError, ConfigError
from ...network.config import BitNetConfig
from ...network.hadamard import PREFIX
from ...network.key_lists import GGUF_KEYS
from ...network.keys import Unread, sort_out
from ...network.parts import parts_of
from ...network.quantization import GROUP_SIZE
from ...network.records import RECORDS, Network, of_architecture
from ...network.unsupported import UNSUPPORTED
from .blocks import GROUPED
from .container import TERNARY, GgufFile, TensorInfo, block_bytes
from .embedding import POOLING_KEY, body_of, refuse_another_window
from .multipliers import complete_multipliers, multiplier_keys, stored_multipliers
from .rope import SCALING, refuse_other_factors, rope_scaling

__all__ = [
    "ACTIVATION",
    "GgufConfig",
    "architecture",
    "grouped_where_ternary",
    "refuse_another_config",
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
EXPERTS = {
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "shared_intermediate_size": "expert_shared_feed_forward_length",
}
BIASES = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_gate.bias"}
ACTIVATION = "bitnet.hidden_act"  # this package's own key; llama.cpp ignores it
SENTENCEPIECE = "llama"  # its name in tokenizer.ggml.model
CHECKED = ("vocab_size", "rope.dimension_count", "attention.value_length")
# Shapes do not show these.
COMPARED = ("num_attention_heads", "num_key_value_heads", "rope_theta", "rms_norm_eps")
READ = ("general.architecture", "general.alignment", "tokenizer.ggml.eot_token_id", ACTIVATION)
THETA = 10000.0  # llama.cpp's default of rope.freq_base
ACTIVATIONS_NOTE = (
    "the file does not say whether activations are quantized: int8 is assumed, because its first "
    "linear has one scale; with the config.json of the original checkpoint beside it, that decides"
)


def first_linear(file: GgufFile) -> TensorInfo | None:
    """Return the first linear where it has a ternary type; all must have types of one kind."""
    first = file.tensors.get("blk.0.attn_q.weight")
    return None if first is None or first.type not in TERNARY else first


def several_scales(info: TensorInfo) -> bool:
    """Return whether the blocks of a ternary tensor differ in their scales.

    A BitNet has one scale per tensor; TriLM and BitCPM4 have more, and float activations.
    """
    if info.type not in GROUPED:
        return False
    stored = torch.frombuffer(
        info.reader.data, dtype=torch.uint8, count=info.size, offset=info.start
    )
    codes, scales = GROUPED[info.type](stored.view(-1, block_bytes(info)))
    used = (codes.view(len(scales), -1) != 1).any(dim=1)
    return len(scales[used].unique()) > 1


def grouped_where_ternary(file: GgufFile, config: BitNetConfig) -> BitNetConfig:
    """Return a config of float linears as that of the groups that the file stores, if it does."""
    if first_linear(file) is None:
        return config
    config = config.grouped()
    for name, linear in parts_of(config).linears.items():
        if linear.features % GROUP_SIZE:
            found = f"has {linear.features} features, expected a multiple of {GROUP_SIZE}"
            file.refuse(name, f"{found}: this many weights share a scale")
    return config


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
    multipliers = stored_multipliers(config)
    for name, expected in ({n: getattr(config, n) for n in COMPARED} | multipliers).items():
        key = f"{prefix}.{keys[name]}"
        found = file.fields.get(key)
        if found == 0 and name in multipliers:
            continue
        if isinstance(found, (int, float)) and not isclose(found, expected, rel_tol=1e-6):
            file.refuse(
                key,
                f"is {found!r}, but {name} is {getattr(config, name)!r} in the config.json beside "
                "the file",
                hint="put the config.json of the same model beside the file, or none",
            )
    refuse_another_window(file, str(prefix), config)
    refuse_other_factors(file, config)


def _keys(network: Network) -> dict[str, str]:
    """Return the key of each field that a network has, without its prefix."""
    return FIELDS | multiplier_keys(network) | (EXPERTS if network.experts else {})


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
                f"is {self.architecture!r}, whose positions of sliding layers are only in a "
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
            elif name in REQUIRED or name in EXPERTS_REQUIRED:
                file.refuse(key, "is missing")
        fields.setdefault("rope_theta", THETA)
        fields["rope_scaling"] = rope_scaling(file, prefix)
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
        complete_multipliers(file, prefix, network, fields)
        return fields, keys

    def _quantization(self, network: Network) -> dict[str, Any] | None:
        """Return the section that the types of the linears stand for, None for float ones."""
        first = first_linear(self._file)
        if network.weights == "float" and first is None:
            return None
        section: dict[str, Any] = {"quant_method": "bitnet", "quantization_mode": "offline"}
        may_be_grouped = network.weights == "float" and not network.experts
        if first is not None and first.type in GROUPED and may_be_grouped:
            if network.gguf.grouped or several_scales(first):
                return {**section, "group_size": GROUP_SIZE}
            if network.task != "embedding":
                self.notes.append(ACTIVATIONS_NOTE)
        elif network.weights == "grouped":
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
