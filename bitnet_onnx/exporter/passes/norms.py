"""Norms are computed with what is before or after them: fewer passes over the activations."""

from __future__ import annotations

import onnx_ir as ir

from ...operators import DOMAIN, VERSION
from ..editing import input_of, made_by, replace
from ..readers import Readers

__all__ = ["NORM_LINEAR", "fuse_norms"]

NORM_LINEAR = "TernaryNormMatMul"


def fuse_norms(model: ir.Model, readers: Readers) -> None:
    """AddRMSNorm takes the place of a residual sum and of the norm that reads it.

    The sum stays a result: it is what the next residual branch is added to. A norm of anything
    else that one linear alone reads becomes a part of that linear, TernaryNormMatMul.
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
