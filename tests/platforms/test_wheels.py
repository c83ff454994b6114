"""What `make wheels` left in dist/: every platform's wheel, and the bare library for phones.

Reads the files; only those of Linux can be run here (test_arm_package.py, and the last test).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import platform
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx import __version__
from custom_ops.wheels import DIST, LIBRARIES, ROOT, WHEELS
from tests.support import packaged

lief = pytest.importorskip("lief")

ARM = re.compile("aarch64|arm64")
ELF, MACHO, PE = lief.ELF.Binary, lief.MachO.Binary, lief.PE.Binary
FLAGS = lief.ELF.Segment.FLAGS
MEGABYTE = 1_000_000


def wheel(name: str) -> Path:
    path = DIST / f"bitnet_onnx-{__version__}-py3-none-{name}.whl"
    if not path.is_file():
        pytest.skip(f"no {path.name}: make wheels")
    return path


def library_name(name: str) -> str:
    if name.startswith("win"):
        return "bitnet_onnx_ops.dll"
    return f"libbitnet_onnx_ops.{'dylib' if name.startswith('macosx') else 'so'}"


def content(name: str) -> bytes:
    """The library of a wheel or of a phone."""
    if name in WHEELS:
        with zipfile.ZipFile(wheel(name)) as archive:
            return archive.read(f"bitnet_onnx/lib/{library_name(name)}")
    files = list((DIST / name).glob("libbitnet_onnx_ops.*"))
    if not files:
        pytest.skip(f"no library in {name}: make wheels")
    (path,) = files
    return path.read_bytes()


@cache  # what lief hands out dies with the binary
def parsed(name: str) -> Any:  # a lief.Binary
    binary = lief.parse(list(content(name)))
    assert binary is not None
    return binary


def of(*starts: str) -> list[str]:
    return [name for name in [*WHEELS, *LIBRARIES] if name.startswith(starts)]


SHARED = [name for name in [*WHEELS, *LIBRARIES] if not name.startswith("ios")]


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_holds_the_package_and_one_library(name: str) -> None:
    with zipfile.ZipFile(wheel(name)) as archive:
        names = set(archive.namelist())
        (info,) = {n.split("/")[0] for n in names} - {"bitnet_onnx"}
        metadata = archive.read(f"{info}/WHEEL").decode()
    here = {n for n in names if n.startswith("bitnet_onnx/")}
    assert {n for n in here if n.startswith("bitnet_onnx/lib/")} == {
        f"bitnet_onnx/lib/{library_name(name)}"
    }
    assert packaged.tracked_files() <= here
    assert re.findall(r"^Tag: (.*)$", metadata, re.MULTILINE) == [f"py3-none-{name}"]
    assert "Root-Is-Purelib: false" in metadata


@pytest.mark.parametrize("name", WHEELS)
def test_the_record_is_right(name: str) -> None:
    with zipfile.ZipFile(wheel(name)) as archive:
        (record,) = (n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
        assert {row[0] for row in rows} == set(archive.namelist())
        for path, given, size in rows:
            if path != record:
                data = archive.read(path)
                found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                assert (given, size) == (f"sha256={found.decode()}", str(len(data))), path


@pytest.mark.parametrize("name", SHARED)
def test_the_processor_is_the_names(name: str) -> None:
    binary = parsed(name)
    if isinstance(binary, PE):
        machine = str(binary.header.machine)
    else:
        header = binary.header
        machine = str(header.machine_type if isinstance(binary, ELF) else header.cpu_type)
    expected = "ARM64|AARCH64" if ARM.search(name) else "X86_64|AMD64"
    assert re.search(expected, machine, re.IGNORECASE), machine


@pytest.mark.parametrize("name", SHARED)
def test_only_the_listed_symbols_are_exported(name: str) -> None:
    binary = parsed(name)
    if isinstance(binary, PE):
        found = {entry.name for entry in binary.get_export().entries}
    else:
        found = {str(symbol.name) for symbol in binary.exported_symbols}
    if isinstance(binary, MACHO):
        zigs = {"__mh_dylib_header", "___dso_handle"}  # its linker adds them
        found = {symbol.removeprefix("_") for symbol in found - zigs}
    assert found == packaged.exported_symbols()


@pytest.mark.parametrize("name", of("manylinux", "musllinux", "android"))
def test_elf_needs_libc_alone(name: str) -> None:
    binary = parsed(name)
    libc = "libc.so.6" if name.startswith("manylinux") else "libc.so"
    assert list(binary.libraries) == [libc]
    entries = {str(e.tag).rpartition(".")[2]: e for e in binary.dynamic_entries}
    assert entries["SONAME"].name == "libbitnet_onnx_ops.so"
    assert not {"RPATH", "RUNPATH", "TEXTREL"} & set(entries)
    versions = [
        v.name for r in binary.symbols_version_requirement for v in r.get_auxiliary_symbols()
    ]
    assert all(v.startswith("GLIBC_") for v in versions)
    assert all(tuple(map(int, v[6:].split("."))) <= (2, 17) for v in versions), versions
    assert bool(versions) == name.startswith("manylinux")


@pytest.mark.parametrize("name", of("manylinux", "musllinux", "android"))
def test_elf_segments_fit_pages_of_16_kilobytes(name: str) -> None:
    loaded = [s for s in parsed(name).segments if s.type == lief.ELF.Segment.TYPE.LOAD]
    assert all(s.alignment >= 16384 for s in loaded)
    assert all((s.virtual_address - s.file_offset) % 16384 == 0 for s in loaded)
    assert not [
        s for s in loaded if s.has(lief.ELF.Segment.FLAGS.W) and s.has(lief.ELF.Segment.FLAGS.X)
    ]


@pytest.mark.parametrize("name", of("macosx"))
def test_macos_needs_its_c_library_alone(name: str) -> None:
    binary = parsed(name)
    itself, *needed = (library.name for library in binary.libraries)
    assert itself == "@rpath/libbitnet_onnx_ops.dylib"
    assert needed == ["/usr/lib/libSystem.B.dylib"]
    assert list(binary.build_version.minos) == [11, 0, 0]
    if ARM.search(name):
        assert binary.has_code_signature  # a Mac with an Arm processor loads nothing unsigned


@pytest.mark.parametrize("name", of("win"))
def test_windows_needs_what_windows_10_has(name: str) -> None:
    needed = {imported.name.lower() for imported in parsed(name).imports}
    assert all(n == "kernel32.dll" or n.startswith("api-ms-win-crt-") for n in needed), needed


@pytest.mark.parametrize("name", of("ios"))
def test_ios_gets_an_archive_for_its_processor(name: str) -> None:
    """Objects of arm64 and iOS, and an index, which Apple's linker asks for."""
    data = content(name)
    assert data.startswith(b"!<arch>\n")
    assert b"__.SYMDEF" in data[:100]
    assert b"_RegisterCustomOps\0" in data
    starts = [m.start() for m in re.finditer(b"\xcf\xfa\xed\xfe", data)]
    for start in starts:
        member = lief.MachO.parse(list(data[start:])).at(0)
        assert str(member.header.cpu_type).endswith("ARM64")
        assert "IOS" in str(member.build_version.platform)
    assert len(starts) >= 20


@pytest.mark.parametrize("name", [*WHEELS, *LIBRARIES])
def test_a_library_is_small_and_names_no_folder_of_this_machine(name: str) -> None:
    data = content(name)
    # Parts of the mingw C library come along to Windows.
    assert len(data) <= (0.5 if name.startswith("win") else 0.3) * MEGABYTE
    for folder in (ROOT, Path.home(), Path(sys.prefix)):
        assert bytes(folder) not in data


@pytest.mark.skipif(sys.platform != "linux", reason="runs the wheels of Linux")
def test_the_wheel_of_this_machine_generates_the_same_ids(
    demo_artifact: Path, tmp_path: Path
) -> None:
    """Beside the packages of this environment; test_install.py has a clean one."""
    built, site = wheel(f"manylinux_2_17_{platform.machine()}"), tmp_path / "site"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    pip += ["--target", site, built]
    subprocess.run(pip, check=True, cwd=tmp_path)
    asked: list[str | Path] = [
        "-m",
        "bitnet_onnx",
        "generate",
        demo_artifact,
        "What is 3 + 4?",
        "--format",
        "ids",
    ]
    ids = [
        subprocess.run(
            [sys.executable, *asked], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(path)},
            check=True, capture_output=True, text=True,
        ).stdout
        for path in (site, ROOT)
    ]  # fmt: skip
    assert ids[0] == ids[1] != ""
