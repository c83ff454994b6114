"""The native libraries of the APK: ONNX Runtime, and the engine with the operators and its JNI."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

from custom_ops import wheels
from mobile_demo.android.tools import downloads

__all__ = ["ABIS", "LIBRARIES", "build", "java_home"]

ROOT = downloads.ROOT
ABIS = ("arm64-v8a", "x86_64")
LIBRARIES = ("libonnxruntime.so", "libbitnet_edge_jni.so")
HERE = ROOT / "mobile_demo" / "android"


def java_home() -> Path:
    """Return the folder of the JDK whose javac is found: jni.h is there."""
    return Path(shutil.which("javac") or "").resolve().parents[1]


def build(abi: str, folder: Path) -> list[Path]:
    """Return the paths of an ABI's libraries, below folder."""
    out = folder / "lib" / abi
    made = folder / "cmake" / abi
    out.mkdir(parents=True, exist_ok=True)
    target = wheels.LIBRARIES[f"android/{abi}"]
    options = wheels.settings(target) | {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_TOOLCHAIN_FILE": str(HERE / "tools" / "android.cmake"),
        "JNI_INCLUDE_DIR": str(java_home() / "include"),
    }
    given = [f"-D{key}={value}" for key, value in options.items()]
    wheels.run("cmake", "-S", HERE / "app" / "src" / "main" / "cpp", "-B", made, *given)
    wheels.run("cmake", "--build", made, "--parallel", str(os.cpu_count() or 1))
    shutil.copy(made / "libbitnet_edge_jni.so", out)
    with zipfile.ZipFile(downloads.fetch(downloads.AAR)) as archive:
        (out / "libonnxruntime.so").write_bytes(archive.read(f"jni/{abi}/libonnxruntime.so"))
    return [out / name for name in LIBRARIES]


if __name__ == "__main__":
    for each in sys.argv[1:] or ABIS:
        print(*build(each, ROOT / "build" / "android"), sep="\n")
