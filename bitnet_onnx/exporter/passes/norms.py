"""Norms are fused with the operator before or after: fewer passes over the activations.

Knows the operators of norms and linears; knows no weights.
"""

from __future__ import annotations

import onnx_ir as ir

from ...operators import DOMAIN, VERSION
from ..editing import input_of, made_by, replace
from ..readers import Readers

__all__ = ["NORM_LINEAR", "fuse_norms"]

NORM_LINEAR = "TernaryNormMatMul"


def fuse_norms(model: ir.Model, readers: Readers) -> None:
    """Replace a residual sum and the norm that reads it by AddRMSNorm.

    The sum remains a result, as the next residual branch is added to it. Any other norm that only
    one linear reads becomes a part of the linear, TernaryNormMatMul.
    """
    graph = model.graph
    for norm in [node for node in graph if node.op_type == "RMSNorm"]:
        add = made_by(input_of(norm, 0), "Add")
        if add is not None:
            inputs = [*add.inputs, *norm.inputs[1:]]
            both = ir.node("AddRMSNorm", inputs, domain=DOMAIN, version=VERSION, num_outputs=2)
            graph.insert_before(add, [both])
            replace(graph, [norm, add], both)
            continue
        readers_of_norm = norm.outputs[0].consumers()
        if len(readers_of_norm) == 1 and readers_of_norm[0].op_type == "TernaryMatMul":
            linear = readers_of_norm[0]
            inputs = [norm.inputs[0], *linear.inputs[1:], *norm.inputs[1:]]
            both = ir.node(NORM_LINEAR, inputs, domain=DOMAIN, version=VERSION)
            graph.insert_before(linear, [both])
            replace(graph, [linear], both)
            graph.remove(norm, safe=True)
