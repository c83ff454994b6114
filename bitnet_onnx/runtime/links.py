"""Graphs whose weights lie where links lead, as in the Hub's cache and on other disks.

ONNX Runtime refuses weights outside the graph's folder. So a graph is given that names the files
as they are really called, below the folder that really holds them. Knows the wire format of a
graph; does not know ONNX Runtime.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..artifact import data_files
from .wire import field, fields, pieces

__all__ = ["followed"]

# Numbers of fields: of ModelProto, GraphProto, TensorProto, and of the entries of the last.
GRAPH, INITIALIZER, EXTERNAL, KEY, VALUE = 7, 5, 13, 1, 2


def followed(model: bytes, folder: Path) -> tuple[bytes, Path] | None:
    """Return a graph with the real names of its files, and the folder that they are below.

    None where each file is in ``folder`` itself, or where the graph or the files are not what
    export writes: ONNX Runtime says what is wrong.
    """
    real = {name: Path(os.path.realpath(folder / name)) for name in data_files(folder)}
    here = Path(os.path.realpath(folder))
    if all(path == here / name for name, path in real.items()):
        return None
    with suppress(IndexError, ValueError):  # a damaged graph, or files on two drives
        below = Path(os.path.commonpath([path.parent for path in real.values()]))
        names = {name: path.relative_to(below).as_posix() for name, path in real.items()}
        return _each(model, GRAPH, lambda graph: _renamed(graph, names)), below
    return None


def _renamed(graph: bytes, names: dict[str, str]) -> bytes:
    def entry(content: bytes) -> bytes:
        found = dict(fields(content))
        name = found.get(VALUE)
        if found.get(KEY) != b"location" or not isinstance(name, bytes):
            return content
        real = names.get(name.decode(), name.decode())
        return field(KEY, b"location") + field(VALUE, real.encode())

    return _each(graph, INITIALIZER, lambda tensor: _each(tensor, EXTERNAL, entry))


def _each(message: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    """Return a message with another content in each field of a number."""
    return b"".join(
        field(found, change(value))
        if found == number and isinstance(value, bytes)
        else message[place]
        for found, value, place in pieces(message)
    )
