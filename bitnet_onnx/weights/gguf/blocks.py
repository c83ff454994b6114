"""The ternary types of GGUF: I2_S, TQ1_0, TQ2_0, Q2_0, PQ2_0, PTQ1_0.

Knows bytes and blocks, not files or networks. Codes are 0, 1, 2 for -1, 0, +1.

I2_S (type 36, microsoft/BitNet src/ggml-bitnet-mad.cpp) is flat over the n weights of a tensor. A
block is 128 weights in 32 bytes in a file made on x86, 64 weights in 16 bytes in one made on Arm:

      byte b of a block:   bits 7:6    5:4     3:2      1:0       B = bytes of a block
      weight:                   b    B + b   2B + b   3B + b

n/4 bytes of codes come first, then the float32 multiplier, then 28 bytes of padding.

TQ2_0 and TQ1_0 (types 35 and 34, ggml/src/ggml-quants.c) hold 256 weights of one row in a block
that ends with a float16 scale.
TQ2_0: 64 bytes; byte 32 h + b holds weight 128 h + 32 j + b in bits 2j+1:2j.
TQ1_0: a byte q holds base-3 digits as a fraction of 256: digit j is (q * 3**j mod 256) * 3 / 256.
Bytes b = 0..31 hold weights 32 j + b (5 digits), bytes 32 + b = 32..47 weights 160 + 16 j + b
(5 digits), bytes 48 + b = 48..51 weights 240 + 4 j + b (4 digits).

Q2_0 (type 42) holds 128 or 64 weights in a block that begins with a float16 scale; then byte b
holds weight 4 b + j in bits 2j+1:2j. Code 3 means +2, which a ternary weight never is. PQ2_0 (type
142) is the same with 128 weights. PTQ1_0 (type 143) holds 128 weights in digits as those of TQ1_0:
bytes b = 0..15 hold weights 16 j + b (5 digits), bytes 16 + b = 16..23 weights 80 + 8 j + b
(5 digits), bytes 24 + b = 24..25 weights 120 + 2 j + b (4 digits); then a float16 scale.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from gguf import GGMLQuantizationType as Type
from torch import Tensor

from .container import PQ2_0, PTQ1_0, Q2_0

__all__ = [
    "GROUPED",
    "I2S_BLOCKS",
    "TQ_BLOCK",
    "pack_i2s",
    "pack_tq2",
    "unpack_i2s",
    "unpack_ptq1",
    "unpack_q2",
    "unpack_tq1",
    "unpack_tq2",
]

I2S_BLOCKS = {"x86": 128, "arm": 64}
TQ_BLOCK = 256
TQ1_GROUPS = ((0, 32, 5), (32, 48, 5), (48, 52, 4))  # first byte, end, digits per byte
PTQ1_GROUPS = ((0, 16, 5), (16, 24, 5), (24, 26, 4))


def unpack_i2s(packed: Tensor, layout: str) -> Tensor:
    """Unpack uint8 [n/4] -> codes uint8 [n]; 3 is an invalid code."""
    blocks = packed.view(-1, I2S_BLOCKS[layout] // 4)
    codes = torch.empty(len(blocks), 4, blocks.shape[1], dtype=torch.uint8)
    for j, shift in enumerate((6, 4, 2, 0)):
        torch.bitwise_and(blocks >> shift, 3, out=codes[:, j])
    return codes.view(-1)


def pack_i2s(codes: Tensor, layout: str) -> Tensor:
    """Pack codes uint8 [n] -> uint8 [n/4]; n must be a multiple of the layout's block."""
    fields = codes.view(-1, 4, I2S_BLOCKS[layout] // 4)
    packed = fields[:, 0] << 6
    for j, shift in ((1, 4), (2, 2), (3, 0)):
        packed |= fields[:, j] << shift
    return packed.view(-1)


def unpack_tq2(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack uint8 [B, 66] -> codes uint8 [B * 256], where 3 is invalid, and scales float16 [B]."""
    halves = blocks[:, :64].reshape(-1, 2, 1, 32)
    codes = torch.cat([(halves >> (2 * j)) & 3 for j in range(4)], dim=2)
    return codes.view(-1), _scales(blocks)


def pack_tq2(codes: Tensor, scale: Tensor) -> Tensor:
    """Pack codes uint8 [B, 256] and one float16 scale -> uint8 [B, 66]."""
    fields = codes.view(-1, 2, 4, 32)
    packed = fields[:, :, 0] | fields[:, :, 1] << 2 | fields[:, :, 2] << 4 | fields[:, :, 3] << 6
    return torch.cat([packed.flatten(1), scale.view(torch.uint8).expand(len(codes), 2)], dim=1)


def unpack_tq1(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack uint8 [B, 54] -> codes uint8 [B * 256] and scales float16 [B]."""
    return _digits(blocks, TQ1_GROUPS), _scales(blocks)


def unpack_ptq1(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack uint8 [B, 28] -> codes uint8 [B * 128] and scales float16 [B]."""
    return _digits(blocks, PTQ1_GROUPS), _scales(blocks)


def unpack_q2(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack uint8 [B, 2 + n / 4] -> codes uint8 [B * n] and scales float16 [B]."""
    codes = torch.stack([(blocks[:, 2:] >> (2 * j)) & 3 for j in range(4)], dim=2)
    return codes.view(-1), blocks[:, :2].contiguous().view(torch.float16).view(-1)


GROUPED: dict[int, Callable[[Tensor], tuple[Tensor, Tensor]]] = {  # with a scale for each block
    Type.TQ1_0: unpack_tq1,
    Type.TQ2_0: unpack_tq2,
    Q2_0: unpack_q2,
    PQ2_0: unpack_q2,
    PTQ1_0: unpack_ptq1,
}


def _digits(blocks: Tensor, groups: tuple[tuple[int, int, int], ...]) -> Tensor:
    digits = []
    for start, stop, count in groups:
        group = blocks[:, start:stop]
        # uint8 products wrap: this is the mod 256 of the format.
        digits += [((group * 3**j).to(torch.int16) * 3 >> 8).to(torch.uint8) for j in range(count)]
    return torch.cat(digits, dim=1).view(-1)


def _scales(blocks: Tensor) -> Tensor:
    return blocks[:, -2:].contiguous().view(torch.float16).view(-1)
