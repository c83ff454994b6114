"""The container GGUF: its metadata, and the place of each tensor in the mapped file.

Knows no network. Each size that the file states is compared with the bytes that are left before
anything is made of that size. An error names the file, the field or tensor, and what was found.
Source: the GGUF specification in ggml/docs/gguf.md, versions 2 and 3, little-endian. It lacks two
types: 36 is I2_S of microsoft/BitNet, and 42 is Q2_0, which has blocks of 128 weights in PrismML's
files and of 64 in llama.cpp's.

    "GGUF"  version u32  tensors u64  fields u64
    fields:  key string, type u32, value         a string is its length u64 and UTF-8
    tensors: name string, rank u32, sizes u64[rank], type u32, offset u64   innermost size first
    padding to the alignment; tensor data, each at its offset from here
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NoReturn

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from ...errors import CheckpointError

__all__ = ["ALIGNMENT", "I2_S", "Q2_0", "SCALARS", "GgufFile", "TensorInfo", "Value", "type_name"]

Value = bool | int | float | str | list[str] | np.ndarray

ALIGNMENT = 32  # the default of general.alignment
I2_S = 36
I2_S_TAIL = 32  # bytes after the codes: the scale, and padding
Q2_0 = 42
Q2_BLOCKS = (128, 64)
MAX_FIELDS = MAX_TENSORS = 1 << 16
MAX_STRING = 1 << 26  # bytes; a tokenizer.json takes about 10 MB
MAX_STRINGS = 1 << 22  # in all arrays; 128,256 tokens have 280,147 merges
MAX_RANK = 4
MAX_ELEMENTS = 1 << 48
PRINTABLE = 60  # characters of a foreign string that a message may hold

SCALARS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<B",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: shape with the innermost size last, and its bytes in the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def type_name(self) -> str:
        return type_name(self.type)


class GgufFile:
    """A mapped GGUF file; raises CheckpointError naming the file and the field or tensor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                # Private pages: torch wants a writable buffer, and the file must not change.
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be mapped: {error}") from error
        self._at = 0
        self._strings = 0
        tensors, fields = self._start()
        self.fields: dict[str, Value] = {}
        for _ in range(fields):
            key = self._key("field", len(self.fields))
            if key in self.fields:
                self.refuse(key, "is given twice")
            self.fields[key] = self._value(key, self._take("<I", key))
        self.tensors = self._tensors(tensors)

    def refuse(self, what: str, found: str, hint: str | None = None) -> NoReturn:
        """Raise CheckpointError: the file, the field or tensor, and what was found."""
        raise CheckpointError(f"{self.path}: {what} {found}", hint=hint)

    def forget(self) -> None:
        """Give back the pages that were read, which count as memory until then."""
        if hasattr(mmap, "MADV_DONTNEED"):  # Windows keeps them
            self.data.madvise(mmap.MADV_DONTNEED)

    def scalar(self, key: str) -> bool | int | float | str | None:
        """Return a field that is one number or a short string, None where it is missing."""
        value = self.fields.get(key)
        if isinstance(value, (list, np.ndarray)):
            self.refuse(key, f"is an array of {len(value)}, expected one value")
        if isinstance(value, str) and len(value) > PRINTABLE:
            self.refuse(key, f"is a text of {len(value)} characters, expected one value")
        return value

    def _start(self) -> tuple[int, int]:
        magic = bytes(self.data[:4])
        if magic != b"GGUF":
            self.refuse("the file", f"begins with {magic!r}, expected b'GGUF'")
        self._at = 4
        version = self._take("<I", "version")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
            kind = "big-endian" if swapped else "2 or 3"
            hint = "convert it to little-endian" if swapped else "convert the model again"
            found = (
                f"is {version}: the file is {kind}" if swapped else f"is {version}, expected 2 or 3"
            )
            self.refuse("version", found, hint)
        tensors, fields = self._take("<Q", "tensor_count"), self._take("<Q", "kv_count")
        if tensors > MAX_TENSORS:
            self.refuse("tensor_count", f"is {tensors}, expected at most {MAX_TENSORS}")
        if fields > MAX_FIELDS:
            self.refuse("kv_count", f"is {fields}, expected at most {MAX_FIELDS}")
        return tensors, fields

    def _need(self, size: int, what: str) -> None:
        left = len(self.data) - self._at
        if size > left:
            self.refuse(
                what,
                f"needs {size} bytes at {self._at}, but the file has {left} left",
                hint="download the file again",
            )

    def _take(self, form: str, what: str) -> int:
        self._need(size := struct.calcsize(form), what)
        (value,) = struct.unpack_from(form, self.data, self._at)
        self._at += size
        return value

    def _string(self, what: str) -> str:
        length = self._take("<Q", what)
        if length > MAX_STRING:
            self.refuse(what, f"is a text of {length} bytes, expected at most {MAX_STRING}")
        self._need(length, what)
        self._at += length
        try:
            return self.data[self._at - length : self._at].decode("utf-8")
        except UnicodeDecodeError as error:
            self.refuse(what, f"is not UTF-8: {error.reason} at byte {error.start}")

    def _key(self, kind: str, number: int) -> str:
        key = self._string(f"the name of {kind} {number}")
        if not key.isprintable() or not 0 < len(key) <= PRINTABLE * 4:
            self.refuse(f"the name of {kind} {number}", f"is {key[:PRINTABLE]!r}, expected a name")
        return key

    def _value(self, key: str, type: int) -> Value:
        if type == GGUFValueType.STRING:
            return self._string(key)
        if type == GGUFValueType.ARRAY:
            return self._array(key, self._take("<I", key), self._take("<Q", key))
        if type not in SCALARS:
            self.refuse(key, f"has the value type {type}, expected 0 to {max(GGUFValueType)}")
        value = self._take(SCALARS[GGUFValueType(type)], key)
        if type == GGUFValueType.BOOL:
            if value > 1:
                self.refuse(key, f"is the byte {value}, expected 0 or 1 for a bool")
            return bool(value)
        if type == GGUFValueType.FLOAT32:
            return float(str(np.float32(value)))  # 1e-05, not 9.999999747378752e-06
        return value

    def _array(self, key: str, type: int, count: int) -> list[str] | np.ndarray:
        if type == GGUFValueType.STRING:
            self._strings += count
            if self._strings > MAX_STRINGS:
                self.refuse(key, f"has {count} texts, expected at most {MAX_STRINGS} in all")
            self._need(8 * count, key)
            return [self._string(key) for _ in range(count)]
        if type not in SCALARS:
            self.refuse(key, f"is an array of the type {type}, expected numbers or texts")
        form = np.dtype(SCALARS[GGUFValueType(type)])
        self._need(form.itemsize * count, key)
        values = np.frombuffer(self.data, form, count, self._at)
        self._at += values.nbytes
        return values

    def _tensors(self, count: int) -> dict[str, TensorInfo]:
        alignment = self.scalar("general.alignment")
        alignment = ALIGNMENT if alignment is None else alignment
        if isinstance(alignment, bool) or alignment not in [1 << i for i in range(3, 21)]:
            self.refuse("general.alignment", f"is {alignment!r}, expected a power of 2 from 8")
        assert isinstance(alignment, int)
        infos = [self._info(number, alignment) for number in range(count)]
        base = -(-self._at // alignment) * alignment
        block = self._q2_block(infos, base, alignment)
        tensors: dict[str, TensorInfo] = {}
        for name, shape, type, offset in infos:
            if name in tensors:
                self.refuse(name, "is given twice")
            size = q2_size(shape, block) if type == Q2_0 else self._size(name, shape, type)
            tensors[name] = info = TensorInfo(name, shape, type, base + offset, size)
            if info.end > len(self.data):
                self.refuse(
                    name,
                    f"lies at bytes {info.start} to {info.end}, but the file has {len(self.data)}",
                    hint="download the file again",
                )
        before: TensorInfo | None = None
        for info in sorted(tensors.values(), key=lambda info: info.start):
            if before is not None and info.start < before.end:
                self.refuse(info.name, f"overlaps {before.name}")
            before = info
        return tensors

    def _info(self, number: int, alignment: int) -> tuple[str, tuple[int, ...], int, int]:
        name = self._key("tensor", number)
        rank = self._take("<I", name)
        if not 1 <= rank <= MAX_RANK:
            self.refuse(name, f"has {rank} dimensions, expected 1 to {MAX_RANK}")
        shape = tuple(self._take("<Q", name) for _ in range(rank))[::-1]
        if not 0 < prod(shape) <= MAX_ELEMENTS:
            self.refuse(name, f"has the shape {list(shape)}, expected 1 to {MAX_ELEMENTS} elements")
        type, offset = self._take("<I", name), self._take("<Q", name)
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
        starts = [*sorted({base + offset for *_, offset in infos}), len(self.data)]
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
        if type not in list(GGMLQuantizationType):
            self.refuse(name, f"has the tensor type {type}, which is unknown")
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(type)]
        if shape[-1] % block:
            self.refuse(
                name, f"has rows of {shape[-1]}, expected a multiple of {block} for its type"
            )
        return prod(shape) // block * size


def type_name(type: int) -> str:
    """Return a name such as I2_S, TQ2_0 or F16."""
    names = {I2_S: "I2_S", Q2_0: "Q2_0"}
    return names.get(type) or GGMLQuantizationType(type).name


def q2_size(shape: tuple[int, ...], block: int) -> int:
    """Return the bytes of a Q2_0 tensor: each block has a float16 scale and 2 bits per weight."""
    return prod(shape) // block * (2 + block // 4)
