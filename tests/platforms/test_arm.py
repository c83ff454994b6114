"""The operators on 64-bit Arm: cross-compiled, and run on three emulated CPUs.

``BITNET_ONNX_KERNEL`` is left out of the environment: the build's own tests say which kernel runs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.paths import ROOT

OPS = ROOT / "custom_ops"
# Each CPU is tested with the kernels that it has and the ones before it have not.
OLDEST = "cortex-a53"
LATER = {"neoverse-n1": "neon_dotprod", "max": "neon_i8mm"}
TESTS = [*OPS.glob("kernels/*/test.cc"), *OPS.glob("operators/*/test.cc")]
SUITES = [file.parent.name for file in TESTS] + ["hash"]
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64-static"
# All that is run here; benchmarks are not.
TARGETS = ("bitnet_onnx_ops", "kernels_test", "operators_test", "hash", "unoptimized")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which(COMPILER), reason=f"no {COMPILER}"),
    pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"no {EMULATOR}: qemu-user-static"),
]


def call(program: str | Path, *arguments: str | Path) -> str:
    """Its standard output; CMake's programs may come from this environment."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "BITNET_ONNX_KERNEL"}
    found = shutil.which(program, path=here)
    if found is None:
        pytest.skip(f"no {program}")
    done = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(name: str, *options: str, targets: Sequence[str]) -> Path:
    folder = ROOT / "build" / name
    settings = ["-DCMAKE_BUILD_TYPE=Release", "-DBITNET_ONNX_TESTS=ON"]
    call("cmake", "-S", OPS, "-B", folder, *settings, *options)
    call("cmake", "--build", folder, "--target", *targets, "--parallel", str(os.cpu_count()))
    return folder


@pytest.fixture(scope="module")
def arm64() -> Path:
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={OPS / 'cmake/aarch64-linux-gnu.cmake'}"
    return built("arm64", toolchain, targets=TARGETS)


def test_the_cpp_tests_pass_on_every_cpu(arm64: Path) -> None:
    """Among them the hashes of every kernel: those of the source, which all CPUs must have."""
    jobs = str(os.cpu_count())
    said = call("ctest", "--test-dir", arm64, "-j", jobs, "--output-on-failure")
    assert "100% tests passed" in said
    assert "hash_scalar" in said
    assert len(SUITES) > 20
    expected = [f"{suite}_{OLDEST}" for suite in SUITES]
    for cpu, isa in LATER.items():
        kernels = [file.parent.name for file in OPS.glob(f"kernels/*/arm_{isa}.cc")]
        assert kernels
        expected += [f"{suite}_{cpu}" for suite in (*kernels, "ternary_matmul", "hash")]
    assert [name for name in expected if f" {name} " not in said] == []


def test_the_library_needs_libc_only(arm64: Path) -> None:
    listing = call("readelf", "-dhW", arm64 / "libbitnet_onnx_ops.so")
    assert "AArch64" in listing
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", listing) == ["libc.so.6"]
