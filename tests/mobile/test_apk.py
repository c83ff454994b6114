"""What `make apk` left in dist/: read by Debian's tools, and byte by byte."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from bitnet_onnx import __version__
from mobile_demo.android.tools import make_apk, native
from mobile_demo.android.tools.archive import PAGE
from tests.support.android import ids

lief = pytest.importorskip("lief")

BOTH, ARM = "", "-arm64-v8a"
LIBRARIES = [(abi, name) for abi in native.ABIS for name in native.LIBRARIES]
MEGABYTE = 1_000_000


def apk(suffix: str) -> Path:
    path = ids.apk(suffix)
    if not path.is_file():
        pytest.skip(f"no {path.name}: make apk")
    return path


def said(program: str, *arguments: str | Path) -> str:
    if not shutil.which(program):
        pytest.skip(f"no {program}")
    command = [program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("suffix", [BOTH, ARM])
def test_it_is_signed_by_schemes_2_and_3(suffix: str) -> None:
    listed = said("apksigner", "verify", "--verbose", "--min-sdk-version", "26", apk(suffix))
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in listed
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in listed
    assert "Number of signers: 1" in listed


@pytest.mark.parametrize(("suffix", "abis"), [(BOTH, "'arm64-v8a' 'x86_64'"), (ARM, "'arm64-v8a'")])
def test_its_badge(suffix: str, abis: str) -> None:
    listed = said("aapt", "dump", "badging", apk(suffix)).splitlines()
    name = make_apk.gradle("applicationId")
    code = make_apk.version_code()
    assert listed[0].startswith(
        f"package: name='{name}' versionCode='{code}' versionName='{__version__}'"
    )
    assert f"sdkVersion:'{make_apk.gradle('minSdk')}'" in listed
    assert f"targetSdkVersion:'{make_apk.gradle('targetSdk')}'" in listed
    assert f"native-code: {abis}" in listed
    assert any(
        line.startswith("launchable-activity: name='org.bitnetonnx.chat.screens.ChatActivity'")
        for line in listed
    )


@pytest.mark.parametrize("suffix", [BOTH, ARM])
def test_it_asks_for_no_permission(suffix: str) -> None:
    listed = said("aapt", "dump", "permissions", apk(suffix))
    assert listed == f"package: {make_apk.gradle('applicationId')}\n"


@pytest.mark.parametrize("suffix", [BOTH, ARM])
def test_what_is_read_in_place_is_aligned(suffix: str) -> None:
    path = apk(suffix)
    said("zipalign", "-c", "-p", "4", path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        libraries = [info for info in archive.infolist() if info.filename.endswith(".so")]
        resources = archive.getinfo("resources.arsc")
    assert len(libraries) == len(native.LIBRARIES) * (2 if suffix == BOTH else 1)
    for info in [*libraries, resources]:
        name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
        start = info.header_offset + 30 + name + extra
        assert start % (4 if info is resources else PAGE) == 0, info.filename
        assert info.compress_type == zipfile.ZIP_STORED, info.filename


def library(abi: str, name: str) -> bytes:
    with zipfile.ZipFile(apk(BOTH)) as archive:
        return archive.read(f"lib/{abi}/{name}")


@pytest.mark.parametrize(("abi", "name"), LIBRARIES)
def test_a_library_is_for_pages_of_16_kb(abi: str, name: str) -> None:
    binary = lief.parse(list(library(abi, name)))
    loaded = [part for part in binary.segments if part.type == lief.ELF.Segment.TYPE.LOAD]
    assert loaded
    assert all(part.alignment >= PAGE for part in loaded)
    types = lief.ELF.Segment.TYPE
    starts = [part.virtual_address for part in loaded]
    for part in binary.segments:
        assert part.type != types.TLS, "Android 8 and 9 know no thread-local storage"
        if part.type == types.GNU_RELRO:  # Android protects whole pages of it
            end = part.virtual_address + part.virtual_size
            after = [start for start in starts if start > part.virtual_address]
            assert all(start // PAGE > (end - 1) // PAGE for start in after)
    machine = "AARCH64" if abi.startswith("arm") else "X86_64"
    assert machine in str(binary.header.machine_type)


@pytest.mark.parametrize("abi", native.ABIS)
def test_the_engine_needs_only_the_systems_libraries(abi: str) -> None:
    binary = lief.parse(list(library(abi, "libbitnet_edge_jni.so")))
    assert set(binary.libraries) <= {"libc.so", "libdl.so", "libm.so"}
    header = (native.HERE.parent / "engine" / "bitnet_edge.h").read_text("utf-8")
    declared = set(re.findall(r"\b(bitnet_edge_\w+)\(", header))
    assert {str(symbol.name) for symbol in binary.exported_symbols} == {"JNI_OnLoad", *declared}


@pytest.mark.parametrize("suffix", [BOTH, ARM])
def test_the_model_inside_is_the_manifests(suffix: str) -> None:
    with zipfile.ZipFile(apk(suffix)) as archive:
        inside = {
            Path(name).name: archive.read(name)
            for name in archive.namelist()
            if name.startswith("assets/model/")
        }
    manifest = json.loads(inside.pop("manifest.json"))
    found = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in inside.items()
    }
    assert found == manifest["files"]
    assert "chat.json" in found


@pytest.mark.parametrize("suffix", [BOTH, ARM])
def test_the_licences_are_inside(suffix: str) -> None:
    with zipfile.ZipFile(apk(suffix)) as archive:
        text = archive.read("assets/licences.txt").decode()
    assert "\nMIT License\n\nCopyright (c) Microsoft Corporation" in text
    assert text.count("Permission is hereby granted") > 2
    # What is linked into ONNX Runtime, and by zig.
    for name in (
        "Eigen",
        "abseil",
        "protobuf",
        "flatbuffers",
        "Zig contributors",
        "LLVM Exceptions",
    ):
        assert name in text, name


def test_that_for_arm64_is_small() -> None:
    assert apk(ARM).stat().st_size <= 40 * MEGABYTE
