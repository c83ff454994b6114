"""The torch reference of a checkpoint, as what predicts the tokens of a text.

Knows the model in torch; does not know ONNX or measures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..artifact import EMBEDDING
from ..errors import ConfigError, GenerationError
from ..model import BitNetForCausalLM
from ..runtime.open import MOST_THREADS
from ..text.tokenizer import Tokenizer
from ..weights.checkpoint.base import Checkpoint
from .scorers import chunks

__all__ = ["TorchScorer", "use_threads"]


class TorchScorer:
    """A checkpoint's network in torch, fed chunk by chunk; a chunk's logits are in memory."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.config.record.task == EMBEDDING:
            raise ConfigError(
                f"{checkpoint.path} embeds texts, expected a network for text-generation"
            )
        self._network = BitNetForCausalLM.from_checkpoint(checkpoint).eval()
        self.tokenizer = tokenizer_of(checkpoint)
        self.vocab_size = checkpoint.config.vocab_size
        self.context_length = checkpoint.config.max_position_embeddings
        self.options = {"head": "torch", "linears": "torch", "kv cache": "float32"}

    @torch.no_grad()
    def logits(self, ids: Sequence[int], first: int) -> Iterator[np.ndarray]:
        past = None
        if first > 1:
            past = self._network(torch.tensor([ids[: first - 1]]), logits_to_keep=1).past_key_values
        for places in chunks(first, len(ids)):
            output = self._network(torch.tensor([ids[places]]), past_key_values=past)
            past = output.past_key_values
            yield output.logits[0].numpy()


def use_threads(threads: int) -> None:
    """Let torch compute with so many threads; 0 leaves its own number."""
    if not 0 <= threads <= MOST_THREADS:
        raise GenerationError(f"threads is {threads}, expected 0 (one per core) to {MOST_THREADS}")
    if threads:
        torch.set_num_threads(threads)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """Return the tokenizer of a checkpoint, which a GGUF file holds itself."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in checkpoint.text_files().items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return Tokenizer.from_folder(folder)
