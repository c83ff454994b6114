"""The catalog holds every operator, and what a Builder makes is what ONNX allows."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from onnx import defs

from bitnet_onnx import operators
from bitnet_onnx.operators import DOMAIN, OPSET, catalog
from bitnet_onnx.operators.domain import FLOAT, Attribute, Builder, Operator, operator
from bitnet_onnx.operators.steps import sum_in_order

BY_NAME = {one.name: one for one in catalog.OPERATORS}
each = pytest.mark.parametrize("form", catalog.OPERATORS, ids=lambda form: form.name)


def with_inner(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """The nodes of a body and of the Loops in it."""
    for node in graph:
        yield node
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                yield from with_inner(attribute.as_graph())


def test_no_operator_of_the_pages_is_left_out() -> None:
    found = []
    for page in pkgutil.walk_packages(operators.__path__, f"{operators.__name__}."):
        module = importlib.import_module(page.name)
        found += [one for one in vars(module).values() if isinstance(one, Operator)]
    assert {id(one) for one in found} == {
        id(one) for one in (*catalog.OPERATORS, *catalog.PACKED, *catalog.UNPACKED, *catalog.OTHERS)
    }


def test_a_stock_form_has_the_name_of_the_operator_that_it_replaces() -> None:
    for packed, unpacked in zip(catalog.PACKED, catalog.UNPACKED, strict=True):
        assert packed.name == unpacked.name in BY_NAME
    for names in ([], ["TernaryMatMul"], ["Int8MatMul", "TernaryMatMul"]):
        made = [function.name for function in operators.stock_functions(names)]
        assert len(set(made)) == len(made) == 14
        assert set(made) - set(BY_NAME) == {"Int8Rows"}


@each
def test_a_body_has_the_inputs_and_outputs_of_its_schema(form: Operator) -> None:
    schema, function = form.schema(), form.function()
    assert (schema.domain, schema.name) == (function.domain, function.name) == (DOMAIN, form.name)
    assert [value.name for value in schema.inputs] == [value.name for value in function.inputs]
    assert [value.name for value in schema.outputs] == [value.name for value in function.outputs]
    assert form.function() is not function


def test_bodies_hold_nodes_that_onnx_knows_and_names_that_are_unique() -> None:
    for function in [*operators.functions(), *operators.stock_functions(["TernaryMatMul"])]:
        nodes = list(with_inner(function))
        names = [str(output.name) for node in nodes for output in node.outputs]
        assert len(set(names)) == len(names), function.name
        for node in nodes:
            assert node.domain in function.opset_imports
            if node.domain == DOMAIN:
                called = BY_NAME[node.op_type]
                sizes = (len(called.inputs), len(called.outputs))
                assert (len(node.inputs), len(node.outputs)) == sizes, node
            if node.domain == "":
                schema = defs.get_schema(node.op_type, OPSET)
                assert schema.min_input <= len(node.inputs) <= schema.max_input, node
                assert schema.min_output <= len(node.outputs) <= schema.max_output, node
                assert set(node.attributes) <= set(schema.attributes), node


# -------------------------------------------------------------------------------- the builder


def constants(function: ir.Function) -> list[np.ndarray]:
    attributes = [node.attributes["value"] for node in function if node.op_type == "Constant"]
    return [attribute.as_tensor().numpy() for attribute in attributes]


def test_equal_constants_are_one_node_and_stand_first() -> None:
    @operator(inputs={"X": FLOAT}, outputs={"Y": FLOAT})
    def Twice(op: Builder, x: ir.Value) -> ir.Value:
        return op.Add(op.Mul(x, 2.0), op.Unsqueeze(op.Mul(x, 2.0), [2]))

    function = Twice.function()
    assert [node.op_type for node in function] == [
        "Constant", "Constant", "Mul", "Mul", "Unsqueeze", "Add",
    ]  # fmt: skip
    two, axis = constants(function)
    assert (two.dtype.type, two.shape) == (np.float32, ())
    assert (axis.dtype.type, axis.shape) == (np.int64, (1,))


@pytest.mark.parametrize(
    ("given", "dtype", "shape"),
    [
        (1.5, np.float32, ()),
        (-np.inf, np.float32, ()),
        (3, np.int64, ()),
        (True, np.bool_, ()),
        ([3, 4], np.int64, (2,)),
        (np.float64(1.5), np.float64, ()),
        (np.uint8(3), np.uint8, ()),
        (np.zeros((2, 1), np.int8), np.int8, (2, 1)),
    ],
)
def test_the_type_of_a_constant(given: object, dtype: type, shape: tuple[int, ...]) -> None:
    op = Builder()
    op.Identity(given)
    (constant,) = op.constants.values()
    array = constant.attributes["value"].as_tensor().numpy()
    assert (array.dtype.type, array.shape) == (dtype, shape)
    assert np.array_equal(array, np.asarray(given))


def test_an_input_may_be_left_out_and_an_attribute_come_from_the_caller() -> None:
    @operator(
        inputs={"X": FLOAT},
        outputs={"Y": FLOAT},
        attributes={"pads": ir.AttributeType.INTS},
        name="Cut",
    )
    def body(op: Builder, x: ir.Value, pads: Attribute) -> ir.Value:
        return op.Pad(x, op.Constant(value_ints=pads), None, [-1])

    function = body.function()
    assert function.name == "Cut"
    assert list(function.attributes) == ["pads"]
    constant, pad = list(function)[-2:]
    assert pad.inputs[2] is None
    assert constant.attributes["value_ints"].ref_attr_name == "pads"


def test_what_a_loop_uses_is_made_around_it() -> None:
    @operator(inputs={"X": FLOAT}, outputs={"Y": FLOAT})
    def Sum(op: Builder, x: ir.Value) -> ir.Value:
        def term(inner: Builder, number: ir.Value) -> ir.Value:
            return inner.Mul(inner.Gather(x, number), np.float64(0.5))

        start = op.Expand(np.float64(0), [1])
        return sum_in_order(op, op.Squeeze(op.Shape(x)), start, "N", term)

    function = Sum.function()
    inner = [node.op_type for node in with_inner(function) if node not in list(function)]
    assert inner == ["Identity", "Gather", "Mul", "Add"]
    assert [array.tolist() for array in constants(function)] == [0.0, [1], 0.5, True]


def test_only_names_of_operators_are_nodes() -> None:
    with pytest.raises(AttributeError, match=r"found op\.add, expected the name of an ONNX"):
        Builder().add(1.0, 2.0)
