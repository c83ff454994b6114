"""The specification of attention over an int4 cache: an int8 one in another basis, rounded again.

Keys and values are turned: each head is multiplied by Hadamard's matrix of 1 and -1, block by
block. So the few features in which keys are large spread over all of them. A turned row is rounded
as for an int8 cache; then each group of 16 of its codes is rounded to multiples -7 m to 7 m of the
least m that suffices, and packed. Queries and results are turned back, which is exact but for the
sums: the inverse of the matrix is its quotient by a power of two. All products are those of
``exact.attention_int8``. Knows tensors; knows no network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..artifact import CACHE_BLOCK, CACHE_BLOCK_BYTES
from ..weights.hadamard import turned
from .exact import attention_int8, kept_int8

__all__ = ["attention_int4", "block_of", "held_int4", "kept_int4", "turned_back"]

GROUP = CACHE_BLOCK // 2
LEAST = 2  # the least m


def kept_int4(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize x [..., D] for an int4 cache: packed rows uint8 [..., bytes], and steps [...]."""
    codes, step = kept_int8(turned(x, block_of(x.shape[-1])))
    return packed(codes.float()), step


def packed(codes: Tensor) -> Tensor:
    """Pack codes, integers -127 to 127 [..., D]; custom_ops' attend_unpack_int4.h has the bytes."""
    whole = F.pad(codes, (0, -codes.shape[-1] % CACHE_BLOCK))
    groups = whole.unflatten(-1, (-1, 2, GROUP))
    peak = groups.abs().amax(dim=-1, keepdim=True)
    times = ((2 * peak).div(15, rounding_mode="floor") + 1).clamp(min=LEAST)
    low, high = torch.cat([(groups / times).round() + 8, times - LEAST], dim=-1).unbind(dim=-2)
    return (low + 16 * high).flatten(-2).to(torch.uint8)


def held_int4(rows: Tensor, width: int) -> Tensor:
    """Return what packed rows [..., bytes] stand for: int8 [..., D], in the turned basis."""
    blocks = rows.unflatten(-1, (-1, CACHE_BLOCK_BYTES))
    halves = torch.stack([blocks & 15, blocks >> 4], dim=-2).short()
    codes = (halves[..., :GROUP] - 8) * (halves[..., GROUP:] + LEAST)
    return codes.clamp(min=-128).flatten(-3)[..., :width].to(torch.int8)


def attention_int4(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_scale: Tensor,
    value_scale: Tensor,
    seen: Tensor,
) -> Tensor:
    """Compute ``attention_int8`` over packed key and value [B, kv_heads, T, bytes]."""
    keys, values = (held_int4(rows, query.shape[-1]) for rows in (key, value))
    y = attention_int8(turned_back(query), keys, values, key_scale, value_scale, seen)
    return turned_back(y)


def turned_back(x: Tensor) -> Tensor:
    """Return what becomes x [..., D] where it is turned."""
    block = block_of(x.shape[-1])
    return turned(x, block) / block


def block_of(width: int) -> int:
    """Return the largest power of two that divides the width of a head."""
    return width & -width
