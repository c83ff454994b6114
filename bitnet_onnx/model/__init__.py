"""The networks in torch: these files define exactly what BitNet computes.

Everything else is compared with them. Module attributes carry the checkpoint's tensor names, so
weights need no rename table. Knows tensors, the config and open checkpoints; knows no ONNX.

In the order data passes: ``exact`` (norm, attention, routing, float products), ``layers``,
``grouped``, ``binary``, ``linears`` (which of them), ``gated``, ``experts``, ``rotary``,
``hadamard`` (inputs of a rotated basis), ``decoder`` (shared by the networks), one small file for
each network, ``outputs`` (what a pass takes and returns beside logits), ``causal_lm`` (embedding,
layers, head, greedy generation), ``embedding`` (a text as one vector).
"""

from __future__ import annotations

from .binary import BinaryLinear
from .causal_lm import IGNORED, BitNetForCausalLM, BitNetModel
from .decoder import Attend, KeyValue, empty, heads
from .embedding import BitNetEmbedding
from .experts import Experts
from .gated import Gated
from .grouped import GroupLinear
from .hadamard import Rotation, rotate_inputs
from .layers import BitLinear, FloatLinear, OffsetNorm, RMSNorm
from .outputs import CausalLMOutput
from .rotary import rotary_tables, rotate

__all__ = [
    "IGNORED",
    "Attend",
    "BinaryLinear",
    "BitLinear",
    "BitNetEmbedding",
    "BitNetForCausalLM",
    "BitNetModel",
    "CausalLMOutput",
    "Experts",
    "FloatLinear",
    "Gated",
    "GroupLinear",
    "KeyValue",
    "OffsetNorm",
    "RMSNorm",
    "Rotation",
    "empty",
    "heads",
    "rotary_tables",
    "rotate",
    "rotate_inputs",
]
