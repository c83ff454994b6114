"""What a serialized graph computes with: its operators and tables, read without the package onnx.

Knows the wire format of Protocol Buffers and the numbers of the ONNX fields below; knows no
manifest. ONNX Runtime names a graph's inputs and outputs alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Graph"]

DOMAIN = b"bitnet"
TABLES = ("lm_head.weight", "model.embed_tokens.weight")  # a tied head reads the second
HEADS = {
    b"Bf16MatMul": "bf16",
    b"Int8MatMul": "int8",
    b"Int6MatMul": "int6",
    b"Int4MatMul": "int4",
    b"TwoStepMatMul": "two-step",
    b"TwoStepInt4MatMul": "two-step-int4",
}
TYPES = {1: "float32", 2: "int8", 3: "int8", 16: "bf16"}  # ONNX's types of a stock head's table
ANGLES = "cos_cache"
A_HEAD = re.compile(b"|".join(HEADS))
A_TABLE = re.compile("|".join((*TABLES, ANGLES)).encode())

# Numbers of fields: of ModelProto, GraphProto, NodeProto, TensorProto.
GRAPH, NODE, INITIALIZER = 7, 1, 5
OP_TYPE, OP_DOMAIN = 4, 7
DIMS, DATA_TYPE, NAME = 1, 2, 8


class Graph(NamedTuple):
    """What a graph shows of the options with which it was exported; None where it does not."""

    target: str
    head: str | None
    context_length: int | None

    @classmethod
    def of(cls, model: bytes) -> Graph:
        """Read a serialized ModelProto that ONNX Runtime has loaded."""
        operators: set[bytes] = set()
        tables: dict[str, tuple[int, int | None]] = {}
        parts = (part for n, part in _fields(model) if n == GRAPH and isinstance(part, bytes))
        for number, content in (field for part in parts for field in _fields(part)):
            if not isinstance(content, bytes):
                continue
            # Searching costs a hundredth of reading: a graph has thousands of fields.
            if number == NODE and DOMAIN in content:
                if not operators or A_HEAD.search(content):
                    node = dict(_fields(content))
                    if node.get(OP_DOMAIN) == DOMAIN:
                        operators.add(bytes(node.get(OP_TYPE, b"")))
            elif number == INITIALIZER and A_TABLE.search(content):
                tables |= _table(content)
        kind, _ = next((tables[name] for name in TABLES if name in tables), (0, None))
        _, context = tables.get(ANGLES, (0, None))
        head = next((HEADS[name] for name in operators if name in HEADS), TYPES.get(kind))
        return cls("native" if operators else "stock", head, context)


def _table(tensor: bytes) -> dict[str, tuple[int, int | None]]:
    """Return the type and the number of rows by name, where the name is one that matters."""
    kind, rows = 0, None
    for number, value in _fields(tensor):
        if number == DIMS and rows is None:
            rows = value if isinstance(value, int) else _varint(value, 0)[0]
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == NAME and isinstance(value, bytes):
            name = value.decode(errors="replace")
            return {name: (kind, rows)} if name in (*TABLES, ANGLES) else {}
    return {}


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field; numbers of a fixed width are passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif wire == 2:
            size, at = _varint(message, at)
            yield key >> 3, message[at : at + size]
            at += size
        else:
            at += 8 if wire == 1 else 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
