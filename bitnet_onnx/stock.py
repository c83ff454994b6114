"""The second export target: the graph on stock operators alone, with the same integers.

A last pass over the graph for runtimes that load no library, browsers first. Knows ONNX graphs,
the operators of ``ops.py`` and the layout that MatMulNBits reads; knows no checkpoint.

MatMulNBits (accuracy_level 4) quantizes its activations again, in blocks of 128 with a scale of
max|block| / 127 each. Here the activations are whole numbers already, and the last of each block
is a sentinel:

      lane:        0 ... 126                     127
      activation:  127 features, -127 to 127     127      so max|block| is 127 and the scale is 1
      weight:      their codes                   0        so the sum is that of the 127 features

The quantizer cannot give -128: float32(127 / m) * m is below 127.5. Sums are float32 of whole
numbers, exact up to 2**24: ternary ones up to K = 132,000. A runtime that does not quantize
activations (onnxruntime-web) computes the same sums. A weight is stored as its code plus the
default zero point: 2 of 2 bits (so 1, 2, 3 for -1, 0, +1), 128 of 8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common

from .checkpoint import linear_shapes
from .config import BitNetConfig
from .errors import ConfigError
from .graph import KEEP
from .ops import DOMAIN, functions
from .optimize import PARTS
from .ternary import unpack
from .traced import packed_parts

__all__ = ["activations", "is_linear", "refuse", "to_stock"]

Reader = Callable[[], "np.ndarray | ir.TensorProtocol"]
CONTRIB = "com.microsoft"
NODE, LINEAR_BITS, HEAD_BITS = "MatMulNBits", 2, 8
LANES, FEATURES = 128, 127  # of a block
ROTARY = 16  # com.microsoft's attention takes heads of a multiple of so many elements

_QUANTIZE = """
  last = Constant <value = int64[1] {-1}> ()
  zero = Constant <value = float {0.0}> ()
  smallest = Constant <value = float {1e-5}> ()
  sentinel = Constant <value = float {127.0}> ()
  blocks_shape = Constant <value = int64[4] {0, 0, -1, 127}> ()
  tokens_shape = Constant <value = int64[3] {0, 0, -1}> ()
  one_lane = Constant <value = int64[2] {0, 1}> ()
  missing = Constant <value_ints: ints = @missing> ()

  magnitude = Abs (X)
  absmax = ReduceMax <keepdims = 1> (magnitude, last)
  clamped = Max (absmax, smallest)
  act_scale = Div (peak, clamped)
  scaled = Mul (X, act_scale)
  rounded = Round (scaled)
  clipped = Clip (rounded, lowest, peak)
"""

_MULTIPLY = """
  filled = Pad (quantized, missing, sentinel, last)
  blocks = Reshape (filled, blocks_shape)
  guarded = Pad (blocks, one_lane, sentinel, last)
  lanes = Reshape (guarded, tokens_shape)
  sums = com.microsoft.MatMulNBits <K: int = @K, N: int = @N, bits: int = @bits,
                                    block_size: int = 128, accuracy_level: int = 4> (lanes, W, ones)
  poison_terms = Mul (X, zero)
  poison = ReduceSum <keepdims = 1> (poison_terms, last)
"""

_HEADER = """
<domain: "bitnet", opset_import: ["" : 23, "com.microsoft" : 1]>
"""

# As the bodies in ops.py but for the product itself; X is [B, S, K].
_TERNARY_BODY = (
    _HEADER
    + "TernaryMatMul <K, N, bits, missing> (X, W, ones, scale) => (Y) {"
    + """
  peak = Constant <value = float {127.0}> ()
  lowest = Constant <value = float {-127.0}> ()
"""
    + _QUANTIZE
    + """
  quantized = Identity (clipped)
"""
    + _MULTIPLY
    + """
  ratio = Div (scale, act_scale)
  rescale = Add (ratio, poison)
  Y = Mul (sums, rescale)
}
"""
)

# 16-bit activations are two digits of base 255, -127 to 127 each: 127 * 255 + 127 is 32512. They
# are fed as two batches, so that the table is read once.
_INT8_BODY = (
    _HEADER
    + "Int8MatMul <K, N, bits, missing> (X, W, ones, scale) => (Y) {"
    + """
  peak = Constant <value = float {32512.0}> ()
  lowest = Constant <value = float {-32512.0}> ()
  one = Constant <value = float {1.0}> ()
  base = Constant <value = float {255.0}> ()
  wide_base = Constant <value = double {255.0}> ()
"""
    + _QUANTIZE
    + """
  digits = Div (clipped, base)
  high = Round (digits)
  high_part = Mul (high, base)
  low = Sub (clipped, high_part)
  quantized = Concat <axis = 0> (high, low)
"""
    + _MULTIPLY
    + """
  wide = Cast <to = 11> (sums)
  high_sums, low_sums = Split <axis = 0, num_outputs = 2> (wide)
  high_scaled = Mul (high_sums, wide_base)
  total = Add (high_scaled, low_sums)
  rounded_total = Cast <to = 1> (total)
  inverse = Div (one, act_scale)
  inverse_or_nan = Add (inverse, poison)
  by_row = Mul (rounded_total, scale)
  Y = Mul (by_row, inverse_or_nan)
}
"""
)

# ONNX Runtime makes the float32 table once, at load. Gemm reads it as it lies.
_BF16_BODY = (
    _HEADER
    + "Bf16MatMul (X, W) => (Y) {"
    + """
  rows_shape = Constant <value = int64[2] {-1, 0}> ()
  table = Cast <to = 1> (W)
  rows = Flatten <axis = 2> (X)
  products = Gemm <transB = 1> (rows, table)
  lead = Shape <start = 0, end = 2> (X)
  vocabulary = Shape <start = 0, end = 1> (W)
  shape = Concat <axis = 0> (lead, vocabulary)
  Y = Reshape (products, shape)
}
"""
)

# A row of the int8 table: the 127 features of each block, less the zero point.
_ROWS_BODY = (
    _HEADER
    + "Int8Rows <missing> (rows) => (Y) {"
    + """
  offset = Constant <value = float {128.0}> ()
  tokens_shape = Constant <value = int64[3] {0, 0, -1}> ()
  last = Constant <value = int64[1] {-1}> ()
  unpad = Constant <value_ints: ints = @missing> ()
  one_lane = Constant <value = int64[2] {0, -1}> ()
  floats = Cast <to = 1> (rows)
  centred = Sub (floats, offset)
  features = Pad (centred, one_lane, , last)
  joined = Reshape (features, tokens_shape)
  Y = Pad (joined, unpad, , last)
}
"""
)


def refuse(config: BitNetConfig) -> None:
    """Raises ConfigError for a network that stock operators do not run."""
    if config.group_size is not None:
        raise ConfigError(
            f"a scale for each {config.group_size} weights has no exact and fast stock operator",
            hint="export with --target native",
        )


def to_stock(model: ir.Model, config: BitNetConfig, readers: dict[str, Reader]) -> None:
    """Replace each operator of ours by stock ones, and its weight's reader by one of the layout."""
    graph = model.graph
    features = {
        part: shape[1] // config.quantization_groups
        for linear, shape in linear_shapes(config).items()
        for part in packed_parts(config, linear)
    }
    attention = {
        "num_heads": config.num_attention_heads,
        "kv_num_heads": config.num_key_value_heads,
        "do_rotary": 1,
    }
    for node in [node for node in graph if node.domain == DOMAIN]:
        if node.op_type == "TernaryMatMul":
            weight = node.inputs[1]
            assert weight is not None
            first = str(weight.name).removesuffix(".weight").partition(PARTS)[0]
            _product(graph, node, readers, features[first], LINEAR_BITS)
        elif node.op_type == "Int8MatMul":
            _product(graph, node, readers, config.hidden_size, HEAD_BITS)
        elif node.op_type == "GroupQueryAttention" and config.head_dim % ROTARY == 0:
            node.domain, node.version = CONTRIB, 1
            node.attributes.update({k: ir.AttrInt64(k, value) for k, value in attention.items()})
    keep = graph.initializers[KEEP]  # browsers cannot feed an input that has a default
    keep.const_value = ir.tensor(np.ones(1, dtype=np.int64), name=KEEP)
    _inline(model)


def is_linear(node: ir.Node) -> bool:
    """Is it the product of a ternary linear? Its second input is the weight."""
    bits = node.attributes.get("bits")
    return node.op_type == NODE and bits is not None and bits.as_int() == LINEAR_BITS


def activations(node: ir.Node) -> ir.Value:
    """What the quantizer before a linear's product reads: X of ``Mul (X, act_scale)``."""
    while True:
        value = node.inputs[0]
        assert value is not None
        if node.op_type == "Mul":
            return value
        producer = value.producer()
        assert producer is not None
        node = producer


def _product(
    graph: ir.Graph, node: ir.Node, readers: dict[str, Reader], width: int, bits: int
) -> None:
    """Give the node the weight in blocks, their scales of 1, and the sizes as attributes."""
    old, scale = node.inputs[1], node.inputs[2]
    assert old is not None
    assert old.const_value is not None
    name, rows = str(old.name), int(old.const_value.shape.numpy()[0])
    blocks = -(-width // FEATURES)
    missing = blocks * FEATURES - width
    weight = _initializer(graph, name, (rows, blocks, LANES * bits // 8), ir.DataType.UINT8)
    read = readers[name]
    readers[name] = lambda: _layout(np.asarray(read()), width, bits)
    ones = _initializer(graph, f"ones.{rows}.{blocks}", (rows, blocks), ir.DataType.FLOAT)
    readers[str(ones.name)] = lambda: np.ones((rows, blocks), np.float32)
    for user, index in list(old.uses()):
        user.replace_input_with(index, weight)
        if user.op_type == "Gather":
            _rows(graph, user, missing)
    node.resize_inputs(4)
    node.replace_input_with(2, ones)
    node.replace_input_with(3, scale)
    sizes = {"K": blocks * LANES, "N": rows, "bits": bits}
    node.attributes.update({key: ir.AttrInt64(key, value) for key, value in sizes.items()})
    node.attributes.add(ir.AttrInt64s("missing", [0, missing]))


def _rows(graph: ir.Graph, gather: ir.Node, missing: int) -> None:
    """The embedding reads the head's table: its rows [B, S, blocks, 128] become [B, S, H]."""
    attributes = [ir.AttrInt64s("missing", [0, -missing])]
    node = ir.Node(DOMAIN, "Int8Rows", gather.outputs, attributes, version=1)
    gather.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    node.outputs[0].name = f"{gather.outputs[0].name}.rows"
    for user, index in list(gather.outputs[0].uses()):
        if user is not node:
            user.replace_input_with(index, node.outputs[0])
    graph.insert_after(gather, node)


def _layout(stored: np.ndarray, width: int, bits: int) -> np.ndarray:
    """Packed codes or int8 rows -> uint8 [N, blocks, 128 * bits / 8], as the picture above."""
    zero_point = 1 << (bits - 1)
    codes = unpack(torch.from_numpy(stored), width).numpy() if bits == LINEAR_BITS else stored
    rows, blocks = len(codes), -(-width // FEATURES)
    features = np.full((rows, blocks * FEATURES), zero_point, np.uint8)
    np.add(codes, zero_point, out=features[:, :width], casting="unsafe", dtype=np.int16)
    lanes = np.full((rows, blocks, LANES), zero_point, np.uint8)
    lanes[:, :, :FEATURES] = features.reshape(rows, blocks, FEATURES)
    if bits == HEAD_BITS:
        return lanes
    packed = lanes[:, :, 0::4].copy()
    for field in range(1, 4):
        packed |= lanes[:, :, field::4] << (2 * field)
    return packed


def _initializer(
    graph: ir.Graph, name: str, sizes: tuple[int, ...], dtype: ir.DataType
) -> ir.Value:
    """An initializer without data, in place of one of that name; or the one of that size."""
    old = graph.initializers.get(name)
    shape = ir.Shape(sizes)
    if old is not None and old.shape == shape:
        return old
    graph.initializers.pop(name, None)
    tensor = ir.LazyTensor(_unread, dtype=dtype, shape=shape, name=name)
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _unread() -> ir.TensorProtocol:
    raise AssertionError("a weight that was not attached")


def _inline(model: ir.Model) -> None:
    """Put the bodies in place of the calls: no function of ours and no domain of ours is left."""
    bodies = [onnx.parser.parse_function(text) for text in _BODIES]
    ours = {f.identifier(): f for f in functions() if f.name == "GroupQueryAttention"}
    ours |= {f.identifier(): f for f in map(ir.serde.deserialize_function, bodies)}
    called = {node.op_identifier() for node in model.graph}
    model.functions.clear()
    model.functions.update({key: body for key, body in ours.items() if key in called})
    model.opset_imports[CONTRIB] = 1
    common.InlinePass()(model)
    model.functions.clear()
    common.IdentityEliminationPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    del model.opset_imports[DOMAIN]
    for node in model.graph:
        node.metadata_props.clear()
        assert node.domain in ("", CONTRIB), node


_BODIES = (_TERNARY_BODY, _INT8_BODY, _BF16_BODY, _ROWS_BODY)
