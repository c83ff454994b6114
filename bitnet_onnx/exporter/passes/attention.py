"""Attention reads the product of the joined projections as a whole, without a Split.

Knows the names of the attention operators; knows no weights.
"""

from __future__ import annotations

import onnx_ir as ir

from ..editing import input_of, made_by
from ..readers import Readers

__all__ = ["join_attention"]


def join_attention(model: ir.Model, readers: Readers) -> None:
    """Replace the Split of ``fuse_projections`` and its attention by GroupQueryAttention...QKV.

    Queries and keys stay separate where the network changes them first, as Qwen3 does.
    """
    for node in [node for node in model.graph if node.op_type.startswith("GroupQueryAttention")]:
        split = made_by(input_of(node, 0), "Split")
        if split is None or node.inputs[:3] != split.outputs:
            continue
        joined = (split.inputs[0], *node.inputs[3:])
        for index, value in enumerate(joined):
            node.replace_input_with(index, value)
        node.resize_inputs(len(joined))
        node.op_type += "QKV"
        sizes = str(input_of(split, 1).name)
        model.graph.remove(split, safe=True)
        del model.graph.initializers[sizes]
