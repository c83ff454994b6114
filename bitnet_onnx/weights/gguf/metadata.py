"""The metadata of a GGUF file: fields that are read when they are asked for, and strictly then.

Knows the types of values and how far each goes. A field that nobody asks for is only skipped, so
it may hold what this package does not read: arrays of arrays, or text that is not UTF-8. Each size
that the file states is compared with the bytes that are left before anything is made of that size.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
from gguf import GGUFValueType as Type

from ...errors import CheckpointError

__all__ = ["SCALARS", "Fields", "Reader", "Value"]

Value = bool | int | float | str | list[str] | np.ndarray

MAX_TEXT = 1 << 26  # bytes; a tokenizer.json takes about 10 MB
MAX_TEXTS = 1 << 22  # in an array that is read; 128,256 tokens have 280,147 merges
MAX_SKIPPED = 1 << 24  # texts and arrays within all arrays, as each takes a step of Python
MAX_DEPTH = 4  # of arrays in arrays
PRINTABLE = 60  # characters of a foreign string that a message may hold

SCALARS = {
    Type.UINT8: "<B",
    Type.INT8: "<b",
    Type.UINT16: "<H",
    Type.INT16: "<h",
    Type.UINT32: "<I",
    Type.INT32: "<i",
    Type.FLOAT32: "<f",
    Type.BOOL: "<B",
    Type.UINT64: "<Q",
    Type.INT64: "<q",
    Type.FLOAT64: "<d",
}


class Reader:
    """The bytes of a mapped file and a place in them; an error names the file and the item."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        try:
            with path.open("rb") as file:
                # Private pages: torch wants a writable buffer, and the file must not change.
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be mapped: {error}") from error

    def refuse(self, what: str, found: str, hint: str | None = None) -> NoReturn:
        """Raise CheckpointError: the file, the field or tensor, and what was found."""
        raise CheckpointError(f"{self.path}: {what} {found}", hint=hint)

    def forget(self) -> None:
        """Give back the pages that were read, which count as memory until then."""
        if hasattr(mmap, "MADV_DONTNEED"):  # Windows keeps them
            self.data.madvise(mmap.MADV_DONTNEED)

    def skip(self, size: int, what: str) -> int:
        """Pass over ``size`` bytes and return where they began."""
        start, left = self.at, len(self.data) - self.at
        if size > left:
            self.refuse(
                what,
                f"needs {size} bytes at {start}, but the file has {left} left",
                hint="download the file again",
            )
        self.at += size
        return start

    def take(self, form: str, what: str) -> int:
        """Read one number."""
        (value,) = struct.unpack_from(form, self.data, self.skip(struct.calcsize(form), what))
        return value

    def text(self, what: str) -> str:
        """Read a text: its length in bytes, and UTF-8."""
        length = self.take("<Q", what)
        if length > MAX_TEXT:
            self.refuse(what, f"is a text of {length} bytes, expected at most {MAX_TEXT}")
        start = self.skip(length, what)
        try:
            return self.data[start : self.at].decode("utf-8")
        except UnicodeDecodeError as error:
            self.refuse(what, f"is not UTF-8: {error.reason} at byte {error.start}")

    def name(self, what: str) -> str:
        """Read the name of a field or tensor."""
        name = self.text(what)
        if not name.isprintable() or not 0 < len(name) <= PRINTABLE * 4:
            self.refuse(what, f"is {name[:PRINTABLE]!r}, expected a name")
        return name


class Fields(Mapping[str, Value]):
    """Key -> value of all fields; a value is read, and checked, each time it is asked for."""

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader = reader
        self._places: dict[str, tuple[int, int]] = {}  # where type and value begin, and the end
        self._skipped = 0
        for number in range(count):
            key = reader.name(f"the name of field {number}")
            if key in self._places:
                reader.refuse(key, "is given twice")
            start = reader.at
            self._skip(key, reader.take("<I", key))
            self._places[key] = start, reader.at

    def __getitem__(self, key: str) -> Value:
        reader, after = self._reader, self._reader.at
        reader.at = self._places[key][0]
        try:
            return self._value(key, reader.take("<I", key))
        finally:
            reader.at = after

    def __contains__(self, key: object) -> bool:
        return key in self._places  # Mapping would read the value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def peek(self, key: str) -> Value | bytes:
        """Return a value, or the bytes of one that is not read, such as an array of arrays."""
        try:
            return self[key]
        except CheckpointError:
            return self.raw(key)

    def raw(self, key: str) -> bytes:
        """Return the bytes of a field's type and value."""
        start, end = self._places[key]
        return self._reader.data[start:end]

    def _skip(self, key: str, type: int, depth: int = 0) -> None:
        reader = self._reader
        if type == Type.STRING:
            reader.skip(reader.take("<Q", key), key)
        elif type == Type.ARRAY:
            inner, count = reader.take("<I", key), reader.take("<Q", key)
            if inner in SCALARS:
                reader.skip(np.dtype(SCALARS[Type(inner)]).itemsize * count, key)
                return
            self._skipped += count
            if self._skipped > MAX_SKIPPED:
                what = "texts" if inner == Type.STRING else "arrays"
                reader.refuse(key, f"has {count} {what}, expected at most {MAX_SKIPPED} in all")
            if depth == MAX_DEPTH:
                reader.refuse(key, f"has arrays within arrays, expected at most {MAX_DEPTH} levels")
            reader.skip(8 * count, key)  # each element has a length of 8 bytes, or more
            reader.at -= 8 * count
            if inner == Type.STRING:
                self._skip_texts(key, count)
            elif inner != Type.ARRAY:
                self._unknown(key, inner)
            else:
                for _ in range(count):
                    self._skip(key, inner, depth + 1)
        elif type in SCALARS:
            reader.skip(np.dtype(SCALARS[Type(type)]).itemsize, key)
        else:
            self._unknown(key, type)

    def _skip_texts(self, key: str, count: int) -> None:
        reader, length_at = self._reader, struct.Struct("<Q").unpack_from
        at, last = reader.at, len(reader.data) - 8
        for _ in range(count):  # there may be millions
            if at > last:
                break
            at += 8 + length_at(reader.data, at)[0]
        reader.skip(at - reader.at if at <= last + 8 else len(reader.data), key)

    def _unknown(self, key: str, type: int) -> NoReturn:
        self._reader.refuse(key, f"has the value type {type}, expected 0 to {max(Type)}")

    def _value(self, key: str, type: int) -> Value:
        reader = self._reader
        if type == Type.STRING:
            return reader.text(key)
        if type == Type.ARRAY:
            return self._array(key, reader.take("<I", key), reader.take("<Q", key))
        value = reader.take(SCALARS[Type(type)], key)
        if type == Type.BOOL:
            if value > 1:
                reader.refuse(key, f"is the byte {value}, expected 0 or 1 for a bool")
            return bool(value)
        if type == Type.FLOAT32:
            return float(str(np.float32(value)))  # 1e-05, not 9.999999747378752e-06
        return value

    def _array(self, key: str, type: int, count: int) -> list[str] | np.ndarray:
        reader = self._reader
        if type == Type.STRING:
            if count > MAX_TEXTS:
                reader.refuse(key, f"has {count} texts, expected at most {MAX_TEXTS}")
            return [reader.text(f"text {number} of {key}") for number in range(count)]
        if type not in SCALARS:
            reader.refuse(key, f"is an array of the type {type}, expected numbers or texts")
        form = np.dtype(SCALARS[Type(type)])
        start = reader.skip(form.itemsize * count, key)
        return np.frombuffer(reader.data, form, count, start)
