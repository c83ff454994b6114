"""Small artifacts that embed texts."""

from __future__ import annotations

from pathlib import Path

import bitnet_onnx
from tests.support.embedding import networks
from tests.support.embedding.texts import write_tokenizer

__all__ = ["embedding_artifact"]


def embedding_artifact(folder: Path) -> Path:
    """Export a random Qwen3 body with the mean of all tokens, at most 48 of them."""
    body, stored = networks.random_body("qwen3", head_dim=16)
    checkpoint = networks.save_body(folder / "checkpoint", body, stored)
    networks.write_modules(checkpoint, "mean_tokens", max_seq_length=48)
    write_tokenizer(checkpoint)
    return bitnet_onnx.export(checkpoint, folder / "artifact")
