"""Android's libraries out of an APK, made to load over glibc; see bionic.c."""

from __future__ import annotations

import struct
import subprocess
import zipfile
from pathlib import Path

__all__ = ["COMPILERS", "preload", "unpack"]

HERE = Path(__file__).parent
COMPILERS = {"arm64-v8a": "aarch64-linux-gnu-gcc", "x86_64": "gcc"}
_SYSTEM = "libc.so libm.so libdl.so liblog.so libandroid.so".split()
_DYNAMIC = 2  # PT_DYNAMIC
_VERSIONS = range(0x6FFFFFF0, 0x70000000)  # DT_VERSYM, and from DT_VERDEF to DT_VERNEEDNUM
_KEPT = range(0x6FFFFFF9, 0x6FFFFFFC)  # DT_RELACOUNT, DT_RELCOUNT, DT_FLAGS_1
_IGNORED = 0x60000000  # a tag that no linker knows


def unpack(apk: Path, abi: str, folder: Path) -> list[Path]:
    """Write the APK's libraries of an ABI, and empty ones of the system, into a folder."""
    folder.mkdir(parents=True)
    libraries = []
    with zipfile.ZipFile(apk) as archive:
        for name in archive.namelist():
            if name.startswith(f"lib/{abi}/"):
                path = folder / Path(name).name
                path.write_bytes(without_versions(archive.read(name)))
                libraries.append(path)
    for name in _SYSTEM:
        empty: list[str] = ["-shared", "-nostdlib", f"-Wl,-soname,{name}", "-x", "c", "/dev/null"]
        subprocess.run([COMPILERS[abi], *empty, "-o", str(folder / name)], check=True)
    return libraries


def preload(abi: str, path: Path) -> None:
    """Compile what is preloaded."""
    options: list[str | Path] = ["-shared", "-fPIC", "-O1", "-w", "-Wl,--no-as-needed", "-o", path]
    subprocess.run(
        [COMPILERS[abi], *options, HERE / "bionic.c", "-ldl", "-lm", "-lpthread"], check=True
    )


def without_versions(library: bytes) -> bytes:
    """Return an ELF library of 64 bits that asks for no versions of symbols."""
    made = bytearray(library)
    (headers,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    for header in range(headers, headers + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", library, header)
        if kind != _DYNAMIC:
            continue
        for entry in range(offset, offset + length, 16):
            (tag,) = struct.unpack_from("<Q", library, entry)
            if tag in _VERSIONS and tag not in _KEPT:
                struct.pack_into("<Q", made, entry, _IGNORED)
    return bytes(made)
