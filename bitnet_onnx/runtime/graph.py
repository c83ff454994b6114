"""What a serialized graph computes with: its operators and tables, read without the package onnx.

Knows the numbers of the ONNX fields below; knows no manifest. ONNX Runtime names a graph's inputs
and outputs alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import NamedTuple

from .wire import fields, varint

__all__ = ["TWO_STEP", "Graph", "Place", "Table", "attention_inputs", "attention_windows",
           "float_tables", "tables"]  # fmt: skip


DOMAIN = b"bitnet"
TERNARY = b"Ternary"
TABLES = ("lm_head.weight", "model.embed_tokens.weight")  # a tied head reads the second
LINEAR = b"model.layers."  # how the name of a linear's weight begins
HEADS = {
    b"Bf16MatMul": "bf16",
    b"Int8MatMul": "int8",
    b"Int6MatMul": "int6",
    b"Int4MatMul": "int4",
    b"TwoStepMatMul": "two-step",
    b"TwoStepInt6MatMul": "two-step-int6",
    b"TwoStepInt4MatMul": "two-step-int4",
}
TWO_STEP = [name.decode() for name, head in HEADS.items() if head.startswith("two-step")]
TYPES = {1: "float32", 2: "int8", 3: "int8", 16: "bf16"}  # ONNX's types of a stock head's table
ANGLES = "cos_cache"
FLOAT_LINEARS = {name: HEADS[name] for name in (b"Bf16MatMul", b"Int8MatMul")}
A_HEAD = re.compile(b"|".join(HEADS))
A_TABLE = re.compile("|".join((*TABLES, ANGLES)).encode())

# Numbers of fields: of ModelProto, GraphProto, NodeProto, TensorProto.
GRAPH, NODE, INITIALIZER = 7, 1, 5
INPUT, OP_TYPE, ATTRIBUTE, OP_DOMAIN = 1, 4, 5, 7
DIMS, DATA_TYPE, NAME, RAW_DATA, EXTERNAL = 1, 2, 8, 9, 13
KEY, VALUE = 1, 2  # of StringStringEntryProto
ATTRIBUTE_NAME, ATTRIBUTE_INT = 1, 3  # of AttributeProto
FLOAT = 1
PAST_KEY = re.compile(rb"past_key_values\.([0-9]+)\.key$")


class Place(NamedTuple):
    """Where the bytes of an initializer are: a file beside the graph, the offset, how many."""

    file: str
    offset: int
    size: int | None


class Table(NamedTuple):
    """An initializer: its bytes, or where they are."""

    name: str
    kind: int
    shape: tuple[int, ...]
    raw: bytes
    place: Place | None


class Graph(NamedTuple):
    """What a graph shows of the options with which it was exported; None where it does not."""

    target: str
    head: str | None
    linears: str | None
    context_length: int | None

    @classmethod
    def of(cls, model: bytes) -> Graph:
        """Read a serialized ModelProto that ONNX Runtime has loaded."""
        native, ternary = False, False
        heads, linears = set[str](), set[str]()
        shown: dict[str, tuple[int, int | None]] = {}
        for number, content in _of_graph(model):
            # Searching costs a hundredth of reading: a graph has thousands of fields.
            if number == NODE and DOMAIN in content:
                native = native or dict(fields(content)).get(OP_DOMAIN) == DOMAIN
                ternary = ternary or TERNARY in content
                if A_HEAD.search(content):
                    operator, of_linear = _product(content)
                    if not of_linear:
                        heads |= {HEADS[operator]} if operator in HEADS else set()
                    elif operator in FLOAT_LINEARS:
                        linears.add(FLOAT_LINEARS[operator])
            elif number == INITIALIZER and A_TABLE.search(content):
                shown |= _table(content)
        kind, _ = next((shown[name] for name in TABLES if name in shown), (0, None))
        _, context = shown.get(ANGLES, (0, None))
        head = next(iter(heads), TYPES.get(kind))
        if not native:
            return cls("stock", head, None, context)
        stored = "ternary" if ternary else next(iter(linears), "float32")
        return cls("native", head, stored, context)


def _product(node: bytes) -> tuple[bytes, bool]:
    """Return the operator of a node, and whether one of its inputs is the weight of a linear."""
    operator, of_linear = b"", False
    for number, value in fields(node):
        if number == OP_TYPE and isinstance(value, bytes):
            operator = value
        elif number == INPUT and isinstance(value, bytes):
            of_linear = of_linear or value.startswith(LINEAR)
    return operator, of_linear


def _table(tensor: bytes) -> dict[str, tuple[int, int | None]]:
    """Return the type and the number of rows by name, where the name is one that matters."""
    kind, rows = 0, None
    for number, value in fields(tensor):
        if number == DIMS and rows is None:
            rows = value if isinstance(value, int) else varint(value, 0)[0]
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == NAME and isinstance(value, bytes):
            name = value.decode(errors="replace")
            return {name: (kind, rows)} if name in (*TABLES, ANGLES) else {}
    return {}


def attention_inputs(model: bytes) -> Iterator[list[str]]:
    """Yield the names of the inputs of each node of a ModelProto that reads past keys."""
    for number, content in _of_graph(model):
        if number == NODE and b"past_key_values." in content:
            inputs = [v for n, v in fields(content) if n == INPUT and isinstance(v, bytes)]
            if any(map(PAST_KEY.match, inputs)):
                yield [name.decode() for name in inputs]


def attention_windows(model: bytes) -> dict[int, int]:
    """Return the window of each layer whose operator of this package has one."""
    windows = dict[int, int]()
    for number, content in _of_graph(model):
        if number == NODE and b"past_key_values." in content and b"window" in content:
            found = [(n, v) for n, v in fields(content) if isinstance(v, bytes)]
            layers = [m for n, v in found if n == INPUT and (m := PAST_KEY.match(v))]
            given = [dict(fields(v)) for n, v in found if n == ATTRIBUTE]
            width = [a.get(ATTRIBUTE_INT) for a in given if a.get(ATTRIBUTE_NAME) == b"window"]
            if layers and (OP_DOMAIN, DOMAIN) in found and width and isinstance(width[0], int):
                windows[int(layers[0][1])] = width[0]
    return {layer: window for layer, window in windows.items() if window}


def float_tables(model: bytes, names: Set[str]) -> dict[str, Table]:
    """Return initializers float32 by name."""
    found = (table for table in tables(model) if table.name in names)
    return {table.name: table for table in found if table.kind == FLOAT}


def tables(model: bytes) -> Iterator[Table]:
    """Yield the initializers of a ModelProto."""
    return (_tensor(content) for number, content in _of_graph(model) if number == INITIALIZER)


def _tensor(content: bytes) -> Table:
    name, kind, shape, raw, beside = "", 0, list[int](), b"", dict[bytes, bytes]()
    for number, value in fields(content):
        if number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == DIMS and isinstance(value, int):
            shape.append(value)
        elif isinstance(value, int):
            continue
        elif number == DIMS:  # packed
            at = 0
            while at < len(value):
                size, at = varint(value, at)
                shape.append(size)
        elif number == NAME:
            name = value.decode(errors="replace")
        elif number == RAW_DATA:
            raw = value
        elif number == EXTERNAL:
            entry = {n: v for n, v in fields(value) if isinstance(v, bytes)}
            beside[entry.get(KEY, b"")] = entry.get(VALUE, b"")
    place = None
    if beside:
        length = int(beside[b"length"]) if b"length" in beside else None
        place = Place(beside[b"location"].decode(), int(beside.get(b"offset", b"0")), length)
    return Table(name, kind, tuple(shape), raw, place)


def _of_graph(model: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and content of each field of a ModelProto's graph."""
    parts = (part for n, part in fields(model) if n == GRAPH and isinstance(part, bytes))
    for number, content in (field for part in parts for field in fields(part)):
        if isinstance(content, bytes):
            yield number, content
