"""The operator domain ``bitnet`` (version 1), for torch and for ONNX.

Each operator is here twice, side by side: what it computes in torch (the specification) and its
ONNX schema. In ``bodies.py`` it is a third time, as an ONNX function of stock operators with the
same bits, so that a model file also runs where the custom-op library is not registered.
``graph.py`` lets torch trace the torch side; ``translations`` turns each call into one ONNX node.

Sizes: K input features, N output features, W packed as in ``ternary.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from onnx import defs
from torch import Tensor

from ..model import exact, heads, rotate
from ..model.exact import attention, attention_int8, kept_int8
from ..weights.ternary import INT16_PEAK, absmax_int8, absmax_int16, group_sums, unpack

__all__ = ["DOMAIN", "VERSION", "translations"]

DOMAIN = "bitnet"
VERSION = 1
OPSET = 23  # the first opset with RMSNormalization
KEPT = 64  # largest results of a two-step head that are exact; transformers' top_k is 50
GROUP = 128  # weights along K that share a scale, where a matrix has more than one
FIXED_PEAK = 2.0**30  # four digits of -128 to 127 hold it
DIGITS = 4


@torch.library.custom_op("bitnet::ternary_matmul", mutates_args=())
def ternary_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K], packed uint8 [N, 64 * ceil(K / 256)], scale [1] -> [..., N].

    With a scale for each group of weights, scale [N, K / 128], the ONNX node is TernaryGroupMatMul
    and the division is in float64: ``float32(total / act_scale)``.
    """
    quantized, act_scale = absmax_int8(x)
    if scale.dim() == 2:
        return (_group_total(quantized, packed, scale) / act_scale.double()).float()
    sums = quantized @ unpack(packed, x.shape[-1]).float().T
    return sums * (scale / act_scale)


def _group_total(quantized: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    features = quantized.shape[-1]
    assert scale.shape == (packed.shape[0], features / GROUP), (scale.shape, features)
    return group_sums(quantized, unpack(packed, features).float(), scale)


@ternary_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


@torch.library.custom_op("bitnet::ternary_float_matmul", mutates_args=())
def ternary_float_matmul(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K], packed uint8 [N, 64 * ceil(K / 256)], scale [N, K / 128] -> [..., N].

    For models that do not quantize activations. x enters as 31-bit fixed point, ``v / act_scale``
    with ``v = round(x * act_scale)``: within 2**-31 of the token's largest ``|x|``, where a float32
    sum loses up to 2**-24 of its running total in each addition. From there all is integers, and
    float64 in one order: every CPU gives the same bits. A token with a NaN or an infinity becomes
    all NaN.
    """
    wide = x.double()
    peak = wide.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    act_scale = wide.new_tensor(FIXED_PEAK) / peak
    value = (wide * act_scale).round()
    totals = []
    for _ in range(DIGITS):  # value = sum of 256**d * digit[d], each digit -128 to 127
        above = ((value + 128) / 256).floor()
        totals.append(_group_total((value - 256 * above).float(), packed, scale))
        value = above
    total = totals.pop()
    while totals:
        total = total * 256 + totals.pop()
    return (total / act_scale).float()


@ternary_float_matmul.register_fake
def _(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


def ternary_norm_matmul(
    x: Tensor, packed: Tensor, scale: Tensor, norm: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """ternary_matmul of the rms_norm of x [..., K], and that norm. Put in by ``optimize.py``."""
    normed = exact.rms_norm(x, norm, epsilon)
    return ternary_matmul(normed, packed, scale), normed


def ternary_feed_forward(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    gate_scale: Tensor,
    up_scale: Tensor,
    norm: Tensor,
    epsilon: Tensor,
    columns: Tensor,
    scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """2B-4T's ``down(rms_norm(relu(gate(x))² * up(x)))`` [..., M], and what down reads [..., N].

    x [..., K]; gate and up packed [N, 64 * ceil(K / 256)]; norm [N], epsilon [1]; columns uint8
    [N, 64 * ceil(M / 256)]: the matrix of down transposed, packed; scale [M]. The product is +0
    where the first factor is 0, whatever the second: there no row of up need be read, and no
    column where what down reads is quantized to 0. Put in by ``optimize.py``.
    """
    opened = ternary_matmul(x, gate, gate_scale).relu()
    square = opened * opened
    product = torch.where(square == 0, 0.0, square * ternary_matmul(x, up, up_scale))
    normed = exact.rms_norm(product, norm, epsilon)
    quantized, act_scale = absmax_int8(normed)
    sums = quantized @ unpack(columns, scale.shape[0]).float()
    return sums * (scale / act_scale), normed


@torch.library.custom_op("bitnet::bf16_matmul", mutates_args=())
def bf16_matmul(x: Tensor, table: Tensor) -> Tensor:
    """x float32 [..., K], table bfloat16 [N, K] -> float32 [..., N], summed in float64."""
    return (x.double() @ table.double().T).float()


@bf16_matmul.register_fake
def _(x: Tensor, table: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@torch.library.custom_op("bitnet::int8_matmul", mutates_args=())
def int8_matmul(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """x float32 [..., K] as 16-bit integers, table int8 [N, K], scale [N] -> float32 [..., N]."""
    quantized, act_scale = absmax_int16(x)
    sums = (quantized @ table.double().T).float()  # below 2**53: exact before float32
    return sums * scale * (1.0 / act_scale)


@int8_matmul.register_fake
def _(x: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@torch.library.custom_op("bitnet::two_step_matmul", mutates_args=())
def two_step_matmul(x: Tensor, table: Tensor, scan: Tensor, scale: Tensor, bound: Tensor) -> Tensor:
    """bf16_matmul of x and table wherever that is one of the 64 largest of its row (or a tie).

    scan int8 [N, K] and scale [N] are the table's ``int8_rows``, bound [N] its ``row_bounds``
    (positive). Every result that may reach the 64th largest of those that are surely reached is
    computed from the table's row; the others are ``int8_matmul``, and less than that.
    """
    rough, slack = int8_matmul(x, scan, scale), scan_slack(x)
    lowest, highest = rough - bound * slack, rough + bound * slack
    least = lowest.topk(min(KEPT, len(bound))).values[..., -1:]
    return torch.where((highest < least) | rough.isnan(), rough, bf16_matmul(x, table))


def scan_slack(x: Tensor) -> Tensor:
    """[..., 1]: what ``row_bounds`` are multiplied by; infinite where the scan might overflow."""
    quantized, act_scale = absmax_int16(x)
    inverse = 1.0 / act_scale
    norm = quantized.square().sum(dim=-1, keepdim=True).sqrt()  # of whole numbers: any order
    slack = (norm.clamp(min=INT16_PEAK) * inverse.double()).float()
    return torch.where(inverse < 2.0**48, slack, torch.inf)


@two_step_matmul.register_fake
def _(x: Tensor, table: Tensor, scan: Tensor, scale: Tensor, bound: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], table.shape[0])


@torch.library.custom_op("bitnet::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    """x float32 [..., K], weight [K], epsilon [1] -> [..., K]: see ``model/exact.py``."""
    return exact.rms_norm(x, weight, epsilon)


@rms_norm.register_fake
def _(x: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    return torch.empty_like(x)


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """The rms_norm of ``x + residual`` (both [..., K]), and that sum. Put in by ``optimize.py``."""
    total = x + residual
    return exact.rms_norm(total, weight, epsilon), total


@torch.library.custom_op("bitnet::last_positions", mutates_args=())
def last_positions(x: Tensor, count: Tensor) -> Tensor:
    """The last ``count`` (int64 [1]) positions of x [B, S, H]; 0 means all of them."""
    return x[:, -int(count) :].clone()


@last_positions.register_fake
def _(x: Tensor, count: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], torch.library.get_ctx().new_dynamic_size(), x.shape[2])


@torch.library.custom_op("bitnet::group_query_attention", mutates_args=())
def group_query_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    seqlens_k: Tensor,
    total_sequence_length: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention with rotary positions and a KV cache; inputs as com.microsoft's of this name.

    query [B, S, heads * D], key and value [B, S, kv_heads * D], past [B, kv_heads, P, D],
    seqlens_k int32 [B] (each row's last position that counts), total_sequence_length int32 [],
    cos and sin [positions, D / 2] -> output like query, present key and value [B, kv_heads, L, D]
    with L = max(P, total_sequence_length). Past and present are float32, or float16 where the ONNX
    node is GroupQueryAttentionF16: new keys and values are rounded before they are attended to.

    Row b has ``max(0, seqlens_k[b] + 1 - S)`` past positions; its new ones follow them, in the
    cache too. Scores and the sums over values are float64, of exact products; the scores are
    rounded to float32 before the softmax and the result is rounded after it.
    """
    query, (key, value), positions = _rotated(
        query, key, value, past_key, seqlens_k, cos_cache, sin_cache
    )
    present_key, present_value = (
        _appended(cache, part.to(cache.dtype), positions, total_sequence_length)
        for cache, part in ((past_key, key), (past_value, value))
    )
    y = attention(query, present_key, present_value, _seen(present_key, positions))
    return y.transpose(1, 2).flatten(2), present_key, present_value


def _rotated(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past: Tensor,
    seqlens_k: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Query, and key and value, each [B, heads, S, D], rotated; the positions of the new [B, S]."""
    count, width = query.shape[1], past.shape[3]
    lengths = (seqlens_k.long() + 1 - count).clamp(min=0)
    positions = lengths.unsqueeze(1) + torch.arange(count)
    rope = [torch.cat([t[positions]] * 2, dim=-1) for t in (cos_cache, sin_cache)]
    query, key, value = (heads(part, part.shape[2] // width) for part in (query, key, value))
    cos, sin = rope
    return rotate(query, (cos, sin)), (rotate(key, (cos, sin)), value), positions


def _appended(past: Tensor, new: Tensor, positions: Tensor, total: Tensor) -> Tensor:
    """past [B, kv_heads, P, ...], zeros up to ``total``, and new [B, kv_heads, S, ...] in place."""
    missing = past.new_zeros(*past.shape[:2], max(0, int(total) - past.shape[2]), *past.shape[3:])
    index = positions.unsqueeze(1).reshape(-1, 1, new.shape[2], *[1] * (new.dim() - 3))
    return torch.cat([past, missing], dim=2).scatter(2, index.expand_as(new), new)


def _seen(present: Tensor, positions: Tensor) -> Tensor:
    return torch.arange(present.shape[2]) <= positions[:, None, :, None]


@group_query_attention.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, past_key: Tensor, past_value: Tensor, *_: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    shape = list(past_key.shape)
    shape[2] += query.shape[1]
    return torch.empty_like(query), past_key.new_empty(shape), past_value.new_empty(shape)


@torch.library.custom_op("bitnet::group_query_attention_int8", mutates_args=())
def group_query_attention_int8(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    seqlens_k: Tensor,
    total_sequence_length: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    past_key_scale: Tensor,
    past_value_scale: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """group_query_attention with int8 caches and their scales float32 [B, kv_heads, P].

    -> output, present key and value [B, kv_heads, L, D], their scales [B, kv_heads, L]. D is at
    most 512. The formulas are in ``model/exact.py``: sums of whole numbers, in any order.
    """
    query, new, positions = _rotated(query, key, value, past_key, seqlens_k, cos_cache, sin_cache)
    (keys, key_scales), (values, value_scales) = (
        (
            _appended(cache, codes, positions, total_sequence_length),
            _appended(scales, scale, positions, total_sequence_length),
        )
        for cache, scales, (codes, scale) in zip(
            (past_key, past_value),
            (past_key_scale, past_value_scale),
            map(kept_int8, new),
            strict=True,
        )
    )
    seen = _seen(keys, positions)
    y = attention_int8(query, keys, values, key_scales, value_scales, seen)
    return y.transpose(1, 2).flatten(2), keys, values, key_scales, value_scales


@group_query_attention_int8.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, past_key: Tensor, past_value: Tensor, *_: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shape = list(past_key.shape)
    shape[2] += query.shape[1]
    codes = [past.new_empty(shape) for past in (past_key, past_value)]
    scales = [query.new_empty(shape[:3]) for _ in range(2)]
    return torch.empty_like(query), codes[0], codes[1], scales[0], scales[1]


def group_query_attention_qkv(qkv: Tensor, past_key: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """group_query_attention with each position's query, key and value side by side in qkv.

    qkv [B, S, (heads + 2 kv_heads) * D]: what one projection to all three gives. Put in by
    ``optimize.py``; the ONNX node is named as it is without qkv, with QKV after it.
    """
    kv_width = past_key.shape[1] * past_key.shape[3]
    parts = qkv.split([qkv.shape[2] - 2 * kv_width, kv_width, kv_width], dim=-1)
    whole = past_key.dtype == torch.int8
    attend = group_query_attention_int8 if whole else group_query_attention
    return tuple(attend(*parts, past_key, *others))


def _schema(name: str, inputs: str, outputs: str) -> defs.OpSchema:
    """An unregistered schema of our domain; ``inputs`` reads ``"X:tensor(float) ..."``."""
    formal = [
        [defs.OpSchema.FormalParameter(*field.split(":")) for field in text.split()]
        for text in (inputs, outputs)
    ]
    return defs.OpSchema(name, DOMAIN, VERSION, inputs=formal[0], outputs=formal[1])


def _op(schema: defs.OpSchema) -> onnxscript.values.Op:
    opset = onnxscript.values.Opset(schema.domain, VERSION)
    return onnxscript.values.Op(opset, schema.name, schema)


_FLOAT = "tensor(float)"
_PACKED = f"X:{_FLOAT} W:tensor(uint8) scale:{_FLOAT}"
_TERNARY = _schema("TernaryMatMul", _PACKED, f"Y:{_FLOAT}")
_TERNARY_GROUP = _schema("TernaryGroupMatMul", _PACKED, f"Y:{_FLOAT}")
_TERNARY_FLOAT = _schema("TernaryFloatMatMul", _PACKED, f"Y:{_FLOAT}")
_BF16 = _schema("Bf16MatMul", f"X:{_FLOAT} W:tensor(bfloat16)", f"Y:{_FLOAT}")
_INT8 = _schema("Int8MatMul", f"X:{_FLOAT} W:tensor(int8) scale:{_FLOAT}", f"Y:{_FLOAT}")
_TWO_STEP = _schema(
    "TwoStepMatMul",
    f"X:{_FLOAT} W:tensor(bfloat16) scan:tensor(int8) scale:{_FLOAT} bound:{_FLOAT}",
    f"Y:{_FLOAT}",
)
_RMS_NORM = _schema("RMSNorm", f"X:{_FLOAT} weight:{_FLOAT} epsilon:{_FLOAT}", f"Y:{_FLOAT}")


def _attention(name: str, cache: str, scaled: bool = False) -> defs.OpSchema:
    past = f" past_key_scale:{_FLOAT} past_value_scale:{_FLOAT}" if scaled else ""
    present = past.replace("past", "present")
    return _schema(
        name,
        f"query:{_FLOAT} key:{_FLOAT} value:{_FLOAT} past_key:{cache} past_value:{cache} "
        "seqlens_k:tensor(int32) total_sequence_length:tensor(int32) "
        f"cos_cache:{_FLOAT} sin_cache:{_FLOAT}{past}",
        f"output:{_FLOAT} present_key:{cache} present_value:{cache}{present}",
    )


_ATTENTION = _attention("GroupQueryAttention", _FLOAT)
_ATTENTION_F16 = _attention("GroupQueryAttentionF16", "tensor(float16)")
_ATTENTION_INT8 = _attention("GroupQueryAttentionInt8", "tensor(int8)", scaled=True)


def _ternary_node(x: Any, packed: Any, scale: Any) -> Any:
    return _op(_TERNARY_GROUP if len(scale.shape) == 2 else _TERNARY)(x, packed, scale)


def _attention_node(*inputs: Any) -> Any:
    half = inputs[3].dtype == ir.DataType.FLOAT16
    return _op(_ATTENTION_F16 if half else _ATTENTION)(*inputs)


def _slice_node(x: Any, count: Any) -> Any:
    op = onnxscript.values.Opset("", OPSET)
    return op.Slice(
        x,
        op.Neg(count),
        op.Constant(value_ints=[torch.iinfo(torch.int64).max]),
        op.Constant(value_ints=[1]),
    )


def translations() -> dict[Any, Callable[..., Any]]:
    """torch operator -> a function that builds its ONNX node, for ``torch.onnx.export``."""
    return {
        torch.ops.bitnet.rms_norm.default: lambda x, w, e: _op(_RMS_NORM)(x, w, e),
        torch.ops.bitnet.ternary_matmul.default: _ternary_node,
        torch.ops.bitnet.ternary_float_matmul.default: lambda x, w, s: _op(_TERNARY_FLOAT)(x, w, s),
        torch.ops.bitnet.bf16_matmul.default: lambda x, w: _op(_BF16)(x, w),
        torch.ops.bitnet.int8_matmul.default: lambda x, w, s: _op(_INT8)(x, w, s),
        torch.ops.bitnet.two_step_matmul.default: lambda *x: _op(_TWO_STEP)(*x),
        torch.ops.bitnet.last_positions.default: _slice_node,
        torch.ops.bitnet.group_query_attention.default: _attention_node,
        torch.ops.bitnet.group_query_attention_int8.default: lambda *x: _op(_ATTENTION_INT8)(*x),
    }
