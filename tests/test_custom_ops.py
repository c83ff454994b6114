"""The C++ sources of the operators, as files: what they carry and what they export."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import packaged

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
