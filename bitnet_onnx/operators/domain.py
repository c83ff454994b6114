"""The operator domain ``bitnet`` (version 1): what an operator is, and how its ONNX side is built.

A page of this package has, for each of its operators in this order: its computation in torch (the
specification), its ONNX schema, and its body. The body is a function of stock operators that gives
the same bits, so that a model file also runs without the custom-op library. A form that replaces
the operator in the export target ``stock`` comes last.

Knows ONNX: types, schemas, nodes, functions. Knows no torch and no particular operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import defs
from onnx_ir import DataType, Value

__all__ = [
    "BFLOAT16",
    "BOOL",
    "CONTRIB",
    "DOMAIN",
    "DOUBLE",
    "FLOAT",
    "FLOAT16",
    "INT8",
    "INT32",
    "INT64",
    "OPSET",
    "UINT8",
    "VERSION",
    "Attribute",
    "Builder",
    "Operator",
    "operator",
]

DOMAIN = "bitnet"
VERSION = 1
OPSET = 23  # of the stock operators in bodies and graphs
CONTRIB = "com.microsoft"
OPSETS = {"": OPSET, DOMAIN: VERSION, CONTRIB: 1}

FLOAT, DOUBLE = DataType.FLOAT, DataType.DOUBLE
FLOAT16, BFLOAT16 = DataType.FLOAT16, DataType.BFLOAT16
INT8, UINT8, INT32, INT64 = DataType.INT8, DataType.UINT8, DataType.INT32, DataType.INT64
BOOL = DataType.BOOL


@dataclass(frozen=True)
class Attribute:
    """An attribute of a function, whose value comes from the node that calls it."""

    name: str
    type: ir.AttributeType


Body = Callable[..., Value | Sequence[Value]]
"""``body(op, *inputs, *attributes)`` adds nodes with a Builder and returns the outputs."""

PYTHON_TYPES = {"b": np.bool_, "i": np.int64, "f": np.float32}  # of constants, by NumPy's kind
# How a node's attribute is made, by the type of its value.
ATTRIBUTES: dict[type, Callable[[str, Any], ir.Attr]] = {
    int: ir.AttrInt64,
    DataType: ir.AttrInt64,
    str: ir.AttrString,
    list: ir.AttrInt64s,
    np.ndarray: lambda name, array: ir.AttrTensor(name, ir.Tensor(array)),
    ir.Graph: ir.AttrGraph,
    Attribute: lambda name, outer: ir.RefAttr(name, outer.name, outer.type),
}


class Builder:
    """Adds nodes to a body: ``y = op.Mul(x, 2.0)`` adds a Mul and returns its result.

    An input is a value of the body, None for a missing one, or a constant: a float becomes float32,
    an int int64, a list has one dimension; NumPy's numbers and arrays keep their type. Equal
    constants become one Constant node; these nodes come first. Keywords are the node's attributes.
    As in onnxscript's builders, ``_domain`` is the operator's domain and ``_outputs`` the number of
    its results: for two or more, the result is a sequence.
    """

    def __init__(self, outer: Builder | None = None) -> None:
        """Start a body; a Loop's body shares the constants and names of ``outer``."""
        self.nodes: list[ir.Node] = []
        self.constants: dict[object, ir.Node] = {} if outer is None else outer.constants
        self.domains: set[str] = {""} if outer is None else outer.domains
        self._numbers: Iterator[int] = count() if outer is None else outer._numbers

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if not op_type[0].isupper():
            raise AttributeError(f"found op.{op_type}, expected the name of an ONNX operator")
        return lambda *inputs, **attributes: self._add(op_type, inputs, **attributes)

    def call(self, called: Operator, *inputs: Any, **attributes: Any) -> Any:
        """Add a node of another operator of the domain and return its result or results."""
        outputs = len(called.outputs)
        return self._add(called.name, inputs, _outputs=outputs, _domain=DOMAIN, **attributes)

    def _add(
        self,
        op_type: str,
        inputs: Sequence[Any],
        *,
        _outputs: int = 1,
        _domain: str = "",
        **attributes: Any,
    ) -> Any:
        values = [self._value(given) for given in inputs]
        made = self._node(op_type, values, attributes, _outputs, _domain)
        self.nodes.append(made)
        self.domains.add(_domain)
        return made.outputs[0] if _outputs == 1 else made.outputs

    def _value(self, given: Any) -> Value | None:
        if given is None or isinstance(given, Value):
            return given
        array = np.asarray(given)
        if not isinstance(given, (np.generic, np.ndarray)):
            array = array.astype(PYTHON_TYPES[array.dtype.kind])
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = self._node("Constant", [], {"value": array}, 1, "")
        return self.constants[key].outputs[0]

    def _node(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        attributes: Mapping[str, Any],
        outputs: int,
        domain: str,
    ) -> ir.Node:
        made = [ATTRIBUTES[type(value)](key, value) for key, value in attributes.items()]
        results = [Value(name=f"{op_type}_{next(self._numbers)}") for _ in range(outputs)]
        return ir.Node(domain, op_type, inputs, made, outputs=results, name="")


@dataclass(frozen=True)
class Operator:
    """One operator: its schema, its body, and the torch operator whose calls become its nodes.

    A form for the target ``stock`` is also one, under the name of the operator that it replaces.
    """

    name: str
    inputs: Mapping[str, DataType]
    outputs: Mapping[str, DataType]
    body: Body
    attributes: Mapping[str, ir.AttributeType | ir.Attr] = field(default_factory=dict)
    """Name -> type, or the default where a node may lack it; these come last."""
    torch_op: Any = None
    """An overload like ``torch.ops.bitnet.rms_norm.default``; None if only a pass puts it in."""
    takes: Callable[..., bool] | None = None
    """Whether a call with these inputs becomes this operator, where several share ``torch_op``."""

    def schema(self) -> defs.OpSchema:
        """Build its ONNX schema, unregistered; ``torch.onnx.export`` asks for one per node."""
        parameter = defs.OpSchema.FormalParameter
        inputs, outputs = (
            [parameter(name, f"tensor({dtype.name.lower()})") for name, dtype in side.items()]
            for side in (self.inputs, self.outputs)
        )
        attributes = [
            defs.OpSchema.Attribute(
                name,
                getattr(defs.OpSchema.AttrType, _type_of(kind).name),
                required=not isinstance(kind, ir.Attr),  # a default here would be in every node
            )
            for name, kind in self.attributes.items()
        ]
        return defs.OpSchema(
            self.name, DOMAIN, VERSION, inputs=inputs, outputs=outputs, attributes=attributes
        )

    def traced(self, *given: Any) -> Any:
        """Add a node of this operator to the graph that ``torch.onnx.export`` is tracing.

        given: the inputs, then the attributes; the node lacks those that are at their defaults.
        """
        from onnxscript import values  # takes 0.2 seconds, and only tracing needs it

        opset = values.Opset(DOMAIN, VERSION)
        inputs, others = given[: len(self.inputs)], given[len(self.inputs) :]
        attributes = {
            name: value
            for (name, kind), value in zip(self.attributes.items(), others, strict=False)
            if not isinstance(kind, ir.Attr) or kind.value != value
        }
        return values.Op(opset, self.name, self.schema())(*inputs, **attributes)

    def function(self) -> ir.Function:
        """Build its body as an ONNX function, a new one in each call."""
        op = Builder()
        inputs = [Value(name=name) for name in self.inputs]
        attributes = [Attribute(name, _type_of(kind)) for name, kind in self.attributes.items()]
        results = self.body(op, *inputs, *attributes)
        outputs = [results] if isinstance(results, Value) else list(results)
        for name, output in zip(self.outputs, outputs, strict=True):
            output.name = name
        nodes = [*op.constants.values(), *op.nodes]
        imports = {domain: OPSETS[domain] for domain in sorted(op.domains)}
        graph = ir.Graph(inputs, outputs, nodes=nodes, opset_imports=imports)
        declared = [
            kind if isinstance(kind, ir.Attr) else ir.Attr(name, ir.AttributeType.UNDEFINED, None)
            for name, kind in self.attributes.items()
        ]
        return ir.Function(DOMAIN, self.name, graph=graph, attributes=declared)


def _type_of(kind: ir.AttributeType | ir.Attr) -> ir.AttributeType:
    return kind.type if isinstance(kind, ir.Attr) else kind


def operator(
    *,
    inputs: Mapping[str, DataType],
    outputs: Mapping[str, DataType],
    attributes: Mapping[str, ir.AttributeType | ir.Attr] | None = None,
    name: str | None = None,
    torch_op: Any = None,
    takes: Callable[..., bool] | None = None,
) -> Callable[[Body], Operator]:
    """Make an Operator of the decorated body, under the body's name unless ``name`` is given.

    inputs, outputs and attributes: names and types. The others are ``Operator``'s.
    """

    def make(body: Body) -> Operator:
        given = attributes or {}
        return Operator(name or body.__name__, inputs, outputs, body, given, torch_op, takes)

    return make
