"""The container GGUF: its metadata, and the place of each tensor in the mapped file.

Knows no network. An error names the file, the field or tensor, and what was found.
Source: the GGUF specification in ggml/docs/gguf.md, versions 2 and 3, little-endian. It lacks four
types: 36 is I2_S of microsoft/BitNet; 42 is Q2_0, which has blocks of 128 weights in PrismML's
files and of 64 in llama.cpp's; 142 and 143 are PQ2_0 and PTQ1_0 of PrismML.

    "GGUF"  version u32  tensors u64  fields u64
    fields:  key string, type u32, value         a string is its length u64 and UTF-8
    tensors: name string, rank u32, sizes u64[rank], type u32, offset u64   innermost size first
    padding to the alignment; tensor data, each at its offset from here
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NoReturn

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from .metadata import PRINTABLE, Fields, Reader

__all__ = [
    "ALIGNMENT",
    "I2_S",
    "PQ2_0",
    "PTQ1_0",
    "Q2_0",
    "SIZES",
    "TERNARY",
    "GgufFile",
    "TensorInfo",
    "block_bytes",
    "type_name",
]

ALIGNMENT = 32  # the default of general.alignment
I2_S = 36
I2_S_TAIL = 32  # bytes after the codes: the scale, and padding
Q2_0 = 42
Q2_BLOCKS = (128, 64)
PQ2_0, PTQ1_0 = 142, 143
TERNARY = (I2_S, Q2_0, PQ2_0, PTQ1_0, GGMLQuantizationType.TQ1_0, GGMLQuantizationType.TQ2_0)
NAMES = {I2_S: "I2_S", Q2_0: "Q2_0", PQ2_0: "PQ2_0", PTQ1_0: "PTQ1_0"}
SIZES = {  # weights and bytes of a block
    **{int(type): sizes for type, sizes in GGML_QUANT_SIZES.items()},
    PQ2_0: (128, 34),
    PTQ1_0: (128, 28),
}
MAX_FIELDS = MAX_TENSORS = 1 << 16
MAX_RANK = 4
MAX_ELEMENTS = 1 << 48


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: shape with the innermost size last, and its bytes in the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    start: int
    size: int
    reader: Reader = field(repr=False, compare=False)
    """The file, which is one of several where the model is in parts."""

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def type_name(self) -> str:
        return type_name(self.type)


class GgufFile:
    """A mapped GGUF file; raises CheckpointError naming the file and the field or tensor."""

    def __init__(self, path: Path) -> None:
        self.paths = [path]
        self._reader = Reader(path)
        tensors, fields = self._start()
        self.fields = Fields(self._reader, fields)
        self.tensors = self._tensors(tensors)

    @property
    def path(self) -> Path:
        """The file, or the first part, which has the metadata."""
        return self.paths[0]

    def refuse(self, what: str, found: str, hint: str | None = None) -> NoReturn:
        """Raise CheckpointError: the file, the field or tensor, and what was found."""
        self._reader.refuse(what, found, hint)

    def scalar(self, key: str) -> bool | int | float | str | None:
        """Return a field that is one number or a short string, None where it is missing."""
        value = self.fields.get(key)
        if isinstance(value, (list, np.ndarray)):
            self.refuse(key, f"is an array of {len(value)}, expected one value")
        if isinstance(value, str) and len(value) > PRINTABLE:
            self.refuse(key, f"is a text of {len(value)} characters, expected one value")
        return value

    def _start(self) -> tuple[int, int]:
        reader = self._reader
        magic = bytes(self._reader.data[:4])
        if magic != b"GGUF":
            self.refuse("the file", f"begins with {magic!r}, expected b'GGUF'")
        reader.at = 4
        version = reader.take("<I", "version")
        if int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3):
            found = f"is {version}: the file is big-endian"
            self.refuse("version", found, "convert it to little-endian")
        if version not in (2, 3):
            self.refuse("version", f"is {version}, expected 2 or 3", "convert the model again")
        tensors, fields = reader.take("<Q", "tensor_count"), reader.take("<Q", "kv_count")
        if tensors > MAX_TENSORS:
            self.refuse("tensor_count", f"is {tensors}, expected at most {MAX_TENSORS}")
        if fields > MAX_FIELDS:
            self.refuse("kv_count", f"is {fields}, expected at most {MAX_FIELDS}")
        return tensors, fields

    def _tensors(self, count: int) -> dict[str, TensorInfo]:
        alignment = self.scalar("general.alignment")
        alignment = ALIGNMENT if alignment is None else alignment
        if isinstance(alignment, bool) or alignment not in [1 << i for i in range(3, 21)]:
            self.refuse("general.alignment", f"is {alignment!r}, expected a power of 2 from 8")
        assert isinstance(alignment, int)
        infos = [self._info(number, alignment) for number in range(count)]
        base = -(-self._reader.at // alignment) * alignment
        block, end = self._q2_block(infos, base, alignment), len(self._reader.data)
        tensors: dict[str, TensorInfo] = {}
        for name, shape, type, offset in infos:
            if name in tensors:
                self.refuse(name, "is given twice")
            size = q2_size(shape, block) if type == Q2_0 else self._size(name, shape, type)
            tensors[name] = info = TensorInfo(name, shape, type, base + offset, size, self._reader)
            if info.end > end:
                self.refuse(
                    name,
                    f"lies at bytes {info.start} to {info.end}, but the file has {end}",
                    hint="download the file again",
                )
        before: TensorInfo | None = None
        for info in sorted(tensors.values(), key=lambda info: info.start):
            if before is not None and info.start < before.end:
                self.refuse(info.name, f"overlaps {before.name}")
            before = info
        return tensors

    def _info(self, number: int, alignment: int) -> tuple[str, tuple[int, ...], int, int]:
        reader = self._reader
        name = reader.name(f"the name of tensor {number}")
        rank = reader.take("<I", name)
        if not 1 <= rank <= MAX_RANK:
            self.refuse(name, f"has {rank} dimensions, expected 1 to {MAX_RANK}")
        shape = tuple(reader.take("<Q", name) for _ in range(rank))[::-1]
        if not 0 < prod(shape) <= MAX_ELEMENTS:
            self.refuse(name, f"has the shape {list(shape)}, expected 1 to {MAX_ELEMENTS} elements")
        type, offset = reader.take("<I", name), reader.take("<Q", name)
        if offset % alignment:
            self.refuse(name, f"has the offset {offset}, expected a multiple of {alignment}")
        return name, shape, type, offset

    def _q2_block(
        self, infos: list[tuple[str, tuple[int, ...], int, int]], base: int, alignment: int
    ) -> int:
        """Find the block size of Q2_0 with which each tensor ends where the next one begins.

        Both sizes have the same type number; the wrong one would give other weights.
        """
        stored = [info for info in infos if info[2] == Q2_0]
        starts = [*sorted({base + offset for *_, offset in infos}), len(self._reader.data)]
        rooms = {start: end - start for start, end in pairwise(starts)}

        def fits(shape: tuple[int, ...], offset: int, block: int) -> bool:
            left = rooms.get(base + offset, -1) - q2_size(shape, block)
            return shape[-1] % block == 0 and 0 <= left < alignment

        for block in Q2_BLOCKS:
            if all(fits(shape, offset, block) for _, shape, _, offset in stored):
                break
        else:
            sizes = " or ".join(map(str, Q2_BLOCKS))
            self.refuse(
                stored[0][0],
                f"and the other Q2_0 tensors do not consist of blocks of {sizes} weights",
                hint="download the file again",
            )
        return block

    def _size(self, name: str, shape: tuple[int, ...], type: int) -> int:
        """Return the bytes of a tensor."""
        if type == I2_S:
            if prod(shape) % 4:
                self.refuse(name, f"has {prod(shape)} I2_S weights, expected a multiple of 4")
            return prod(shape) // 4 + I2_S_TAIL
        if type not in SIZES:
            self.refuse(name, f"has the tensor type {type}, which is unknown")
        block, size = SIZES[type]
        if shape[-1] % block:
            self.refuse(
                name, f"has rows of {shape[-1]}, expected a multiple of {block} for its type"
            )
        return prod(shape) // block * size


def type_name(type: int) -> str:
    """Return a name such as I2_S, TQ2_0 or F16."""
    return NAMES.get(type) or GGMLQuantizationType(type).name


def q2_size(shape: tuple[int, ...], block: int) -> int:
    """Return the bytes of a Q2_0 tensor: each block has a float16 scale and 2 bits per weight."""
    return prod(shape) // block * (2 + block // 4)


def block_bytes(info: TensorInfo) -> int:
    """Return the bytes of one block of a type with a scale for each."""
    if info.type != Q2_0:
        return SIZES[info.type][1]
    return 34 if info.size * 128 == prod(info.shape) * 34 else 18
