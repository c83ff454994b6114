"""The C++ sources of the operators, as files: what they carry and what they export."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tests.support import packaged

OPS = Path(__file__).resolve().parent.parent / "custom_ops"


def test_the_header_of_onnxruntime_is_the_one_that_its_notice_names() -> None:
    folder = OPS / "onnxruntime" / "include"
    notice = (folder / "README.md").read_text(encoding="utf-8")
    header = (folder / "onnxruntime_c_api.h").read_bytes()
    assert f"| sha256 | {hashlib.sha256(header).hexdigest()} |" in notice
    (api,) = re.findall(rb"#define ORT_API_VERSION (\d+)", header)
    assert f"`ORT_API_VERSION` {api.decode()}" in notice
    assert "Copyright (c) Microsoft Corporation" in (folder / "LICENSE").read_text()


def test_the_public_header_declares_what_the_library_exports() -> None:
    header = (OPS / "include" / "bitnet_onnx_ops.h").read_text(encoding="utf-8")
    declared = re.findall(r"^BITNET_ONNX_EXPORT [^;(]*?(\w+)\(", header, re.MULTILINE)
    assert len(declared) == len(set(declared))
    assert set(declared) == packaged.exported_symbols()


def sources(*suffixes: str) -> list[Path]:
    found = [p for p in OPS.rglob("*") if p.suffix in suffixes and p.parent.name != "include"]
    assert found
    return found


RINGS = ("platform", "kernels", "operators", "onnxruntime")
FACING = re.compile(r"onnxruntime/|operators/\w+/\w+_op\.cc")  # ONNX Runtime: they see its header
PROOF = re.compile(r"testing/|include/|.*/(bench|check|fuzz|test\w*)\.\w+")


def test_a_file_includes_from_its_own_ring_and_those_below() -> None:
    wrong = []
    for path in sources(".h", ".cc", ".inc"):
        name, text = str(path.relative_to(OPS)), path.read_text(encoding="utf-8")
        if PROOF.fullmatch(name) or name.startswith(("testing/", "include/")):
            continue
        faces = FACING.match(name) is not None
        ring = len(RINGS) if faces else RINGS.index(name.partition("/")[0]) + 1
        allowed = {*RINGS[:ring], *(["include"] if faces else [])}
        wrong += [(name, i) for i in re.findall(r'#include "(\w+)/', text) if i not in allowed]
        if "<onnxruntime_c_api.h>" in text and not faces:
            wrong.append((name, "onnxruntime_c_api.h"))
    assert wrong == []


def test_a_kernel_includes_what_no_other_flags_compile() -> None:
    """Else the linker could keep a function of a header as AVX-512 compiled it."""
    system = {"immintrin.h", "arm_neon.h", "stddef.h", "stdint.h", "string.h", "float.h", "math.h"}
    own = {"kernels/format.h", "kernels/attend.h", "platform/compiler.h", "platform/cpu.h"}
    for path in (OPS / "kernels").rglob("*"):
        if path.suffix not in (".h", ".cc", ".inc") or path.stem in ("test", "bench", "kernels"):
            continue
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"#include <(.*)>", text)) <= system, path
        for name in re.findall(r'#include "(.*)"', text):
            folder, _, file = name.removeprefix("kernels/").partition("/")
            shared = re.fullmatch(r"kernels/(x86_|arm_|scalar)\w*\.h", name)
            assert name in own or shared or (OPS / "kernels" / folder / file).is_file(), (
                path,
                name,
            )


def test_files_and_folders_are_small() -> None:
    limits = [(r"onnxruntime/register\.cc", 60), (r"kernels/.*/(x86|arm)_\w+\.(cc|h)", 250)]
    limits += [(r".*(test\w*|fuzz|fake_ort)\.cc", 350), (r".*", 300)]
    for path in sources(".h", ".cc", ".inc", ".c"):
        name = str(path.relative_to(OPS))
        limit = next(limit for pattern, limit in limits if re.fullmatch(pattern, name))
        assert len(path.read_text(encoding="utf-8").splitlines()) <= limit, name
    for folder in [OPS, *(p for p in OPS.rglob("*") if p.is_dir() and p.name != "__pycache__")]:
        assert sum(p.is_file() for p in folder.iterdir()) <= 20, folder


def test_every_row_of_a_list_has_its_file() -> None:
    for path in (OPS / "kernels").glob("*/kernels.inc"):
        rows = re.findall(r"^KERNEL\((\w+), ", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert rows[-1] == "scalar", path
        files = {p.stem.removeprefix("x86_").removeprefix("arm_") for p in path.parent.glob("*.cc")}
        assert set(rows) == files - {"test", "bench"}, path
