"""The small files of an artifact: the configs of all clients, and the manifest.

Knows the names and fields that other tools expect; knows no graph and no weights.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__
from .. import operators as ops
from ..artifact import (
    CHECKPOINT_CONFIG,
    CONFIG,
    LAST,
    SCALED_CACHES,
    data_files,
    write_manifest,
)
from ..files import sha256, write_text
from ..network.config import BitNetConfig
from ..network.pooling import Pooling
from ..weights.checkpoint.base import Checkpoint
from .chat.file import write_chat
from .options import Options

__all__ = ["describe"]

CHUNK = 256  # positions of a prompt in one step, as a session feeds them
PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir")  # the manifest records their versions


def describe(
    folder: Path,
    checkpoint: Checkpoint,
    options: Options,
    library: Path | None,
    pooling: Pooling | None = None,
) -> None:
    """Complete a folder that holds the graph and its weights; the manifest is written last.

    pooling: of a network that embeds texts.
    """
    config = checkpoint.config
    for name, content in checkpoint.text_files().items():
        (folder / name).write_bytes(content)
    if library is not None:
        shutil.copyfile(library, folder / library.name)
    _write_json(folder / CHECKPOINT_CONFIG, config.to_dict())
    data_count = len(data_files(folder))
    if pooling is not None:
        _write_json(folder / CONFIG, encoder_config(config, options, data_count))
        write_manifest(folder, _manifest(checkpoint, options, pooling))
        return
    _write_json(folder / CONFIG, client_config(config, options, data_count))
    if options.kv_cache not in SCALED_CACHES:  # onnxruntime-genai cannot feed the scales of a cache
        _write_json(folder / "genai_config.json", genai_config(config, options, library))
    if not (folder / "generation_config.json").exists():
        _write_json(folder / "generation_config.json", _special_ids(config))
    write_chat(folder)
    write_manifest(folder, _manifest(checkpoint, options, None))


def client_config(config: BitNetConfig, options: Options, data_count: int) -> dict[str, Any]:
    """Return the config of which optimum-onnx and transformers.js make inputs and the empty cache.

    To both, the graph is a Gemma: the plainest decoder that both know. optimum makes a Gemma's
    cache ``head_dim`` wide and feeds no ``position_ids``; a LLaMA's cache it makes hidden_size /
    num_attention_heads wide. The graph defines the computation, and checkpoint_config.json
    describes the network. transformers.js also reads that there is one graph, in float32, with
    ``data_count`` data files.
    """
    ids = _special_ids(config)
    eos = ids["eos_token_id"]
    return {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": options.context,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        **ids,
        "eos_token_id": eos[0] if len(eos) == 1 else eos,
        "torch_dtype": "float32",
        "transformers.js_config": {"dtype": "fp32", "use_external_data_format": data_count},
    }


def encoder_config(config: BitNetConfig, options: Options, data_count: int) -> dict[str, Any]:
    """Return the config of which transformers.js feeds ids and a mask: to it, this is a BERT."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": options.context,
        "pad_token_id": config.pad_token_id,
        "tokenizer_class": config.record.tokenizer_class,
        "torch_dtype": "float32",
        "transformers.js_config": {"dtype": "fp32", "use_external_data_format": data_count},
    }


def genai_config(config: BitNetConfig, options: Options, library: Path | None) -> dict[str, Any]:
    """Return the config for onnxruntime-genai, which takes the graph for a plain decoder."""
    special = _special_ids(config)
    if special["pad_token_id"] is None:  # onnxruntime-genai wants one, and never feeds it
        special["pad_token_id"] = next(iter(config.eos_token_id), 0)
    session: dict[str, Any] = {"provider_options": []}
    if library is not None:
        session = {"custom_ops_library": library.name, **session}
    return {
        "model": {
            "type": "decoder",
            **{name: ids for name, ids in special.items() if ids is not None},
            "vocab_size": config.vocab_size,
            "context_length": options.context,
            "decoder": {
                "filename": LAST,  # it cannot feed logits_to_keep
                "head_size": config.head_dim,
                "hidden_size": config.hidden_size,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": config.num_key_value_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "session_options": session,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": False,
            "max_length": options.context,
            "past_present_share_buffer": True,
            "chunk_size": CHUNK,
        },
    }


def _special_ids(config: BitNetConfig) -> dict[str, Any]:
    """Return the special ids, also the generation_config.json of a checkpoint without one."""
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_id),
        "pad_token_id": config.pad_token_id,
    }


def _manifest(checkpoint: Checkpoint, options: Options, pooling: Pooling | None) -> dict[str, Any]:
    """Return the fields of the manifest, without its version and list of files."""
    config = checkpoint.config
    origin: dict[str, Any] = {"name": checkpoint.path.resolve().name}
    if checkpoint.hub is not None:
        origin = dict(zip(("name", "commit"), checkpoint.hub, strict=True))
    for name in ("not_read", "ignored_keys"):
        if keys := getattr(checkpoint, name):
            origin[name] = list(keys)
    return {
        "operator_domain_version": ops.VERSION,
        "task": config.record.task,
        "pooling": "none" if pooling is None else pooling.mode,
        "normalize": pooling is not None and pooling.normalize,
        "network": config.network,
        "target": options.target,
        "head": options.head,
        "linears": options.linears,
        "outputs": options.outputs,
        "kv_cache": options.kv_cache,
        "context_length": options.context,
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "source": {
            **origin,
            "files": {path.name: sha256(path) for path in checkpoint.files()},
        },
        "tools": {"bitnet-onnx": __version__, **{name: version(name) for name in PACKAGES}},
    }


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    write_text(path, json.dumps(fields, indent=2) + "\n")
