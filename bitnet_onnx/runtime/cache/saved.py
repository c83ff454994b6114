"""A row of a cache in a file: its ids, keys and values, and the model that they belong to.

The file has the form of safetensors, whose readers can open it: 8 bytes with the length of a JSON
header, little-endian; the header; the ids, then each buffer [kv heads, positions, ...]. The header
follows from the layout, the number of positions and the CRC-32 of the data, so that a file is right
where its header is the one that would be written.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

from ...errors import GenerationError
from ...files import new_file
from .growing import Cache
from .layout import CacheLayout

__all__ = ["load_row", "save_row"]

FORMAT = "bitnet-onnx prompt cache 1"
IDS = "ids"
TYPES = {"float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8", "int64": "I64"}
LONGEST = 1 << 20  # bytes of a header; one of 128 layers has 60 KB
AGAIN = "delete the file, or choose another one; saving the cache again makes a new one"


def save_row(cache: Cache, path: str | Path, row: int = 0) -> None:
    """Write a row into a file, or replace the file; raise BitNetError where that fails."""
    cache.check_whole(row)
    path = _path(path)
    ids = np.array(cache.ids(row), dtype=np.int64)
    buffers = [buffer[row, :, : len(ids)] for buffer in cache.buffers.values()]
    parts = [ids, *(head for buffer in buffers for head in buffer)]  # each is contiguous
    header = _header(cache.layout, len(ids), _checked(parts))
    target = Path(os.path.realpath(path)) if path.is_symlink() else path  # a link stays one
    with new_file(target, replaces=True) as temporary, temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for part in parts:
            file.write(_bytes(part))


def load_row(cache: Cache, path: str | Path, row: int = 0) -> None:
    """Replace a row by the one in a file; raise GenerationError and change nothing otherwise."""
    path = _path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
            raise GenerationError(f"{path} is not a file, expected a prompt cache")
        with path.open("rb", buffering=0) as file:
            _load(cache, path, file, row)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise GenerationError(f"{path} cannot be read: {reason}") from error


def _path(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise GenerationError(f"the path of a prompt cache is {path!r}, expected a path")
    return Path(path)


def _load(cache: Cache, path: Path, file: Any, row: int) -> None:
    size = os.fstat(file.fileno()).st_size
    positions, crc, begins = _read_header(cache.layout, path, file, size)
    if positions > cache.layout.context_length:
        raise GenerationError(
            f"{path} holds {positions} positions, expected at most the context of "
            f"{cache.layout.context_length}",
            hint=AGAIN,
        )
    ends = begins + 8 * positions + sum(_sizes(cache.layout, positions))
    if size != ends:
        raise GenerationError(
            f"{path} has {size} bytes, expected {ends}: it is truncated or was changed", hint=AGAIN
        )
    ids = np.empty(positions, dtype=np.int64)
    found = _checked(_read([ids], path, file))

    def write(buffers: Mapping[str, np.ndarray]) -> None:
        heads = (head for name in cache.layout.names for head in buffers[name])
        if _checked(_read(heads, path, file), found) != crc:
            raise GenerationError(
                f"{path} is damaged: its data is not what was written", hint=AGAIN
            )

    cache.fill(ids, write, row)


def _header(layout: CacheLayout, positions: int, crc: int) -> bytes:
    """Return the header of a file, whose length is a multiple of 8 as that of each part is."""
    entries: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "model": layout.model, "crc32": f"{crc:08x}"}
    }
    end = 8 * positions
    entries[IDS] = {"dtype": "I64", "shape": [positions], "data_offsets": [0, end]}
    for name, size in zip(layout.names, _sizes(layout, positions), strict=True):
        shape = layout.shape(name, 1, positions)[1:]
        kind = TYPES[layout.dtype_of(name)]
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _sizes(layout: CacheLayout, positions: int) -> list[int]:
    """Return the bytes of each buffer."""
    one = [layout.zeros(name, 1, 1).nbytes for name in layout.names]
    return [positions * size for size in one]


def _read_header(
    layout: CacheLayout, path: Path, file: BinaryIO, size: int
) -> tuple[int, int, int]:
    """Return the number of positions, the CRC-32 of the data, and where it begins."""
    length = int.from_bytes(file.read(8), "little")
    text = file.read(length) if length <= min(LONGEST, size - 8) else b""
    try:
        entries = json.loads(text)
        about = entries["__metadata__"]
        known = about["format"] == FORMAT
    except (ValueError, RecursionError, LookupError, TypeError):
        known = False
    if not known:
        raise GenerationError(
            f"{path} is not a prompt cache, expected {FORMAT!r}", hint="choose another file"
        )
    if about.get("model") != layout.model:
        raise GenerationError(
            f"{path} is the prompt cache of another model, whose numbers differ", hint=AGAIN
        )
    try:
        positions, crc = entries[IDS]["shape"][0], int(about["crc32"], 16)
        same = type(positions) is int and text == _header(layout, positions, crc)
    except (ValueError, LookupError, TypeError):
        same = False
    if not same:
        raise GenerationError(f"{path} is damaged: its header is not what was written", hint=AGAIN)
    return positions, crc, 8 + length


def _read(parts: Iterable[np.ndarray], path: Path, file: Any) -> Iterator[np.ndarray]:
    """Fill contiguous arrays from a file, one by one."""
    for part in parts:
        place = _bytes(part)
        while place:
            read = file.readinto(place)
            if not read:
                raise GenerationError(f"{path} was truncated while it was read", hint=AGAIN)
            place = place[read:]
        yield part


def _checked(parts: Iterable[np.ndarray], crc: int = 0) -> int:
    """Return the CRC-32 of arrays, which follow bytes with that of ``crc``."""
    for part in parts:
        crc = crc32(_bytes(part), crc)
    return crc


def _bytes(part: np.ndarray) -> Any:
    flat: Any = part.reshape(-1).view(np.uint8)
    return memoryview(flat)
