"""Tiny random checkpoints of networks whose sizes clients have to be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support import checkpoints
from tests.support import oracle_networks as oracle

__all__ = ["NETWORKS"]


def _bitnet(folder: Path) -> Path:
    return checkpoints.make(folder, tied=False, eos_token_id=[1, 2])


def _wide_heads(folder: Path) -> Path:
    """num_attention_heads * head_dim is twice hidden_size."""
    return oracle.make_llama(folder, "wide heads")


def _qwen3(folder: Path) -> Path:
    """num_attention_heads * head_dim is half of hidden_size."""
    return oracle.save(oracle.qwen3(torch.bfloat16), folder, torch.bfloat16)


def _minicpm(folder: Path) -> Path:
    model, fields = oracle.minicpm()
    tensors = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    del tensors["lm_head.weight"]  # tied
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(tensors, folder / "model.safetensors")
    return folder


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "bitnet": _bitnet,
    "wide-heads": _wide_heads,
    "qwen3": _qwen3,
    "minicpm": _minicpm,
}
