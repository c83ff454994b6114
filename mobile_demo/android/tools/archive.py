"""Writes an APK's zip: libraries and resources are read in place, so they are stored and aligned.

Debian's zipalign aligns to pages of 4 KB; Android 15 has devices with pages of 16 KB. apksigner
keeps what is aligned here.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

__all__ = ["PAGE", "write"]

PAGE = 16384
_LOCAL_HEADER = 30  # bytes, before the name
_ALIGNMENT = 0xD935  # the extra field that zipalign and apksigner pad with
_DATE = (1980, 1, 1, 0, 0, 0)  # the same input gives the same bytes


def write(path: Path, files: dict[str, bytes | Path]) -> None:
    """Write a zip of files: name in the zip to its bytes or path."""
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            data = content.read_bytes() if isinstance(content, Path) else content
            info = zipfile.ZipInfo(name, _DATE)
            alignment = _alignment(name)
            info.compress_type = zipfile.ZIP_DEFLATED if alignment == 1 else zipfile.ZIP_STORED
            if alignment > 1:
                assert archive.fp is not None
                info.extra = _padding(archive.fp.tell() + _LOCAL_HEADER + len(name), alignment)
            archive.writestr(info, data, compresslevel=9)


def _alignment(name: str) -> int:
    if name.endswith(".so"):
        return PAGE
    return 4 if name == "resources.arsc" else 1


def _padding(offset: int, alignment: int) -> bytes:
    head = struct.calcsize("<HHH")
    padding = -(offset + head) % alignment
    return struct.pack("<HHH", _ALIGNMENT, 2 + padding, alignment) + bytes(padding)
