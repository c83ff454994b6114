"""The export target ``stock``: the graph on stock operators alone, with the same integers.

It is a last pass over the graph for runtimes that load no library, above all browsers. Each
operator is replaced by its stock form in ``operators/``: small networks unpack their weights at
load, larger ones keep them at two bits. Knows ONNX graphs and names of weights; knows no values.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes import common

from ..artifact import LINEARS, SCALED_CACHES
from ..errors import ConfigError
from ..network.config import BitNetConfig
from ..network.parts import parts_of
from ..operators import DOMAIN, FEATURES, LANES, stock_functions
from ..weights.ternary import unpack
from .editing import input_of, placeholder, reshape, shape_of
from .options import Options
from .passes.projections import PARTS
from .readers import Readers

__all__ = ["PART", "activations", "check_network", "to_blocks", "to_stock"]

CONTRIB = "com.microsoft"
PRODUCTS = ("MatMulNBits", "MatMul")
LINEAR_BITS, HEAD_BITS = 2, 8
# Those that may stay packed.
OPERATORS = {"ternary": "TernaryMatMul", "int8": "Int8MatMul"}
EXPERTS = {"TernaryMatMul": "TernaryExperts", "Int8MatMul": "Int8Experts"}
STOCK_HEADS = ("bf16", "int8", "float32")
ROTARY = 16  # head_dim must be a multiple of it for com.microsoft's attention
# Linears, or an int8 head, of at most this many bytes as float32 are unpacked at load. MatMulNBits
# of onnxruntime-web unpacks its weights in every call: 25 ms where MatMul takes 2.8 (one token,
# 2560 x 2560, WASM, 1 thread).
UNPACKED = 512 << 20
PART = 1 << 30  # bytes of one data file: a browser holds it in one piece, a phone no larger one
MEMORY = 4 << 30  # bytes that WebAssembly can address


def check_network(
    config: BitNetConfig, options: Options, elsewhere: str = "with --target native"
) -> None:
    """Raise ConfigError for a network, a head or a cache that stock operators cannot run.

    elsewhere: how its hints name the export that can.
    """
    if options.head not in STOCK_HEADS:
        raise ConfigError(
            f"head is {options.head!r}, which only the custom operator makes exact and fast",
            hint=f"export with --head bf16 for the same ids, or {elsewhere}",
        )
    if options.kv_cache in SCALED_CACHES:
        raise ConfigError(
            f"kv_cache is {options.kv_cache!r}, which only the custom operator makes exact and "
            "fast",
            hint=f"export with --kv-cache float16, or {elsewhere}",
        )
    if config.group_size is not None:
        raise ConfigError(
            f"group_size is {config.group_size}, which no stock operator makes exact and fast",
            hint=f"export {elsewhere}",
        )
    if (needed := memory(config, options.head, options.linears)) > MEMORY:
        raise ConfigError(
            f"the weights take {needed / 1e9:.1f} GB at run time, expected at most "
            f"{MEMORY / 1e9:.1f} GB for a browser",
            hint=f"export with --head int8 if you have not, or {elsewhere}",
        )


def memory(config: BitNetConfig, head: str, linears: str = LINEARS[0]) -> int:
    """Return the bytes of the weights at run time: as stored, plus the unpacked copies."""
    count, table = weight_counts(config)
    packed = packed_operators(config, head, linears)
    stored = {"ternary": 0.25, "int8": 1, "bf16": 2, "float32": 4}
    needed = 0.0
    for kind, weights in ((linears, count), (head, table)):
        whole = kind == "float32" or OPERATORS.get(kind) in packed
        needed += weights * (stored[kind] + (0 if whole else 4))
    embedding = 0 if config.tie_word_embeddings else (4 if head == "float32" else 2)
    return int(needed) + embedding * table


def packed_operators(config: BitNetConfig, head: str, linears: str) -> set[str]:
    """Return the operators whose weights stay packed: unpacked in each call, not at load."""
    counts: Counter[str] = Counter()
    for kind, count in zip((linears, head), weight_counts(config), strict=True):
        if kind in OPERATORS:
            counts[OPERATORS[kind]] += count
    packed = {name for name, count in counts.items() if 4 * count > UNPACKED}
    return packed | {EXPERTS[name] for name in packed}


def weight_counts(config: BitNetConfig) -> tuple[int, int]:
    """Return the number of weights of all linears, and that of the head."""
    parts = parts_of(config)
    linears = sum(n.rows * n.features for n in parts.linears.values())
    linears += sum(n.count * n.rows * n.features for n in parts.experts.values())
    return linears, config.vocab_size * config.hidden_size


def to_stock(model: ir.Model, config: BitNetConfig, options: Options, readers: Readers) -> None:
    """Replace each custom operator by stock ones, and adapt the reader of its weight."""
    graph = model.graph
    features = {
        name: linear.operand_shape[1]
        for linear in parts_of(config).linears.values()
        for name in linear.operands
    }
    attention = {
        "num_heads": config.num_attention_heads,
        "kv_num_heads": config.num_key_value_heads,
        "do_rotary": 1,
    }
    packed = packed_operators(config, options.head, options.linears)
    for node in [node for node in graph if node.domain == DOMAIN]:
        if node.op_type == "TernaryMatMul":
            linear = str(input_of(node, 1).name).removesuffix(".weight")
            width = features[linear.partition(PARTS)[0]]
            if node.op_type in packed:
                _product(graph, node, readers, width, LINEAR_BITS)
            else:
                node.attributes.add(ir.AttrInt64s("width", [width]))
        elif node.op_type == "Int8MatMul" and node.op_type in packed:
            _product(graph, node, readers, shape_of(input_of(node, 1))[1], HEAD_BITS)
        elif node.op_type == "GroupQueryAttention" and fits_contrib(node, config.head_dim):
            node.domain, node.version = CONTRIB, 1
            node.attributes.update({k: ir.AttrInt64(k, value) for k, value in attention.items()})
    _inline(model, stock_functions(packed))


def fits_contrib(node: ir.Node, head_dim: int) -> bool:
    """Return whether com.microsoft's attention computes the same; others keep their bodies.

    Releases of ONNX Runtime differ by one position in where its local_window_size begins.
    """
    return head_dim % ROTARY == 0 and "window" not in node.attributes


def activations(weight: ir.Value) -> ir.Value:
    """Return the input of the quantizer before a linear's product: X of ``Mul (X, act_scale)``."""
    (node,) = weight.consumers()
    while node.op_type not in PRODUCTS:
        (node,) = node.outputs[0].consumers()
    while node.op_type != "Mul":
        producer = input_of(node, 0).producer()
        assert producer is not None
        node = producer
    return input_of(node, 0)


def _product(graph: ir.Graph, node: ir.Node, readers: Readers, width: int, bits: int) -> None:
    """Give the node its weight in blocks, scales of 1 for the blocks, and sizes as attributes."""
    weight, scale = input_of(node, 1), input_of(node, 2)
    name, rows, blocks = str(weight.name), shape_of(weight)[0], -(-width // FEATURES)
    missing = blocks * FEATURES - width
    weight.type = ir.TensorType(ir.DataType.UINT8)
    reshape(weight, [rows, blocks, LANES * bits // 8])
    read = readers[name]
    readers[name] = lambda: to_blocks(np.asarray(read()), width, bits)
    ones = _ones(graph, readers, rows, blocks)
    for user in weight.consumers():
        if user.op_type == "Gather":
            _rows(graph, user, missing)
    node.resize_inputs(4)
    node.replace_input_with(2, ones)
    node.replace_input_with(3, scale)
    sizes = {"K": blocks * LANES, "N": rows, "bits": bits}
    node.attributes.update({key: ir.AttrInt64(key, value) for key, value in sizes.items()})
    node.attributes.add(ir.AttrInt64s("missing", [0, missing]))


def _rows(graph: ir.Graph, gather: ir.Node, missing: int) -> None:
    """Turn rows [B, S, blocks, 128] of the head's table, read as an embedding, into [B, S, H]."""
    attributes = [ir.AttrInt64s("missing", [0, -missing])]
    node = ir.Node(DOMAIN, "Int8Rows", gather.outputs, attributes, version=1)
    gather.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    node.outputs[0].name = f"{gather.outputs[0].name}.rows"
    for user, index in list(gather.outputs[0].uses()):
        if user is not node:
            user.replace_input_with(index, node.outputs[0])
    graph.insert_after(gather, node)


def to_blocks(stored: np.ndarray, width: int, bits: int) -> np.ndarray:
    """Lay out packed codes or int8 rows as uint8 [N, blocks, 128 * bits / 8]: see ``blocks.py``."""
    zero_point = 1 << (bits - 1)
    codes = unpack(torch.from_numpy(stored), width).numpy() if bits == LINEAR_BITS else stored
    rows, blocks = len(codes), -(-width // FEATURES)
    features = np.full((rows, blocks * FEATURES), zero_point, np.uint8)
    features[:, :width] = codes.view(np.uint8) + np.uint8(zero_point)  # modulo 256
    lanes = np.full((rows, blocks, LANES), zero_point, np.uint8)
    lanes[:, :, :FEATURES] = features.reshape(rows, blocks, FEATURES)
    if bits == HEAD_BITS:
        return lanes
    packed = lanes[:, :, 0::4].copy()
    for field in range(1, 4):
        packed |= lanes[:, :, field::4] << (2 * field)
    return packed


def _ones(graph: ir.Graph, readers: Readers, rows: int, blocks: int) -> ir.Value:
    """Return the scales of all blocks, all 1; weights of one size share them."""
    name = f"ones.{rows}.{blocks}"
    if name not in graph.initializers:
        graph.register_initializer(placeholder(name, [rows, blocks], ir.DataType.FLOAT))
        readers[name] = lambda: np.ones((rows, blocks), np.float32)
    return graph.initializers[name]


def _inline(model: ir.Model, made: list[ir.Function]) -> None:
    """Replace calls by bodies, so that no function and no custom domain is left."""
    called = {node.op_identifier() for node in model.graph}
    model.functions.clear()
    model.functions.update({f.identifier(): f for f in made if f.identifier() in called})
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
