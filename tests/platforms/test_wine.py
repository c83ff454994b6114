"""The operators on Windows: cross-compiled by zig, run by Wine, compared with this system."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from custom_ops.wheels import TOOLCHAIN, WHEELS, settings
from tests.support.environment import no_network
from tests.support.paths import ROOT

OPS = ROOT / "custom_ops"
WINE = shutil.which("wine64", path=f"{os.environ['PATH']}{os.pathsep}/usr/lib/wine")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(WINE is None, reason="no wine64: apt-get install wine64"),
    pytest.mark.skipif(find_spec("ziglang") is None, reason="no ziglang: pip install ziglang"),
]


def call(program: str | Path, *arguments: str | Path, **variables: str) -> str:
    """Its standard output; CMake may come from this environment."""
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: text for name, text in os.environ.items() if name != "BITNET_ONNX_KERNEL"}
    found = shutil.which(program, path=here)
    if found is None:
        pytest.skip(f"no {program}")
    done = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, env=kept | variables
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def built(name: str, targets: list[str], *options: str) -> Path:
    folder = ROOT / "build" / name
    tests = ["-DCMAKE_BUILD_TYPE=Release", "-DBITNET_ONNX_TESTS=ON"]
    call("cmake", "-S", OPS, "-B", folder, *tests, *options)
    jobs = str(os.cpu_count())
    call("cmake", "--build", folder, "--parallel", jobs, "--target", *targets)
    return folder


@pytest.fixture(scope="module")
def programs() -> Path:
    assert TOOLCHAIN.is_file()
    options = [f"-D{key}={value}" for key, value in settings(WHEELS["win_amd64"]).items()]
    targets = ["hash", "kernels_test", "operators_test", "boundary_test", "greedy"]
    targets.append("bitnet_onnx_ops")
    return built("windows", targets, *options)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive C: of Wine."""
    return tmp_path_factory.mktemp("wine") / "prefix"


def wine(prefix: Path, program: Path, *arguments: str) -> str:
    """What a Windows program prints, with Unix line ends; Wine's own remarks are off."""
    assert WINE is not None
    quiet = {"WINEPREFIX": str(prefix), "WINEDEBUG": "-all", "DISPLAY": ""}
    return call(WINE, program, *arguments, **quiet).replace("\r\n", "\n")


def test_every_kernel_gives_the_bits_of_this_system(programs: Path, prefix: Path) -> None:
    """The hashes of all kernels that this CPU can run."""
    here = call(built("dev", ["hash"]) / "hash", "all")
    assert len(here.splitlines()) >= 10
    assert wine(prefix, programs / "hash.exe", "all") == here


@pytest.mark.parametrize("name", ["kernels_test", "operators_test", "boundary_test"])
def test_the_cpp_tests_pass(programs: Path, prefix: Path, name: str) -> None:
    assert ", 0 failures" in wine(prefix, programs / f"{name}.exe")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime for Windows, from its wheel."""
    folder = tmp_path_factory.mktemp("onnxruntime")
    command = "download --no-deps --only-binary=:all: --platform win_amd64 --python-version 3.11"
    done = subprocess.run(
        [sys.executable, "-m", "pip", *command.split(), "--dest", folder, "onnxruntime"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode and no_network(done.stderr):
        pytest.skip("no package index")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as content:
        return Path(content.extract("onnxruntime/capi/onnxruntime.dll", folder))


def test_onnx_runtime_for_windows_gives_the_bits_of_this_system(
    programs: Path, prefix: Path, runtime: Path, demo_artifact: Path
) -> None:
    """The ids of an answer, each with the bits of its logit."""
    ids = Tokenizer.from_folder(demo_artifact).encode_chat([{"role": "user", "content": "27 + 5?"}])
    expected, fed = [], list(ids)
    with Session(demo_artifact, threads=1) as session:
        for _ in range(8):
            session.reset()
            logits = session.prefill(fed)
            fed.append(int(logits.argmax()))
            expected.append(f"{fed[-1]} {struct.pack('>f', logits.max()).hex()}")
    artifact = Artifact.open(demo_artifact)
    sizes = [artifact.num_key_value_heads, artifact.head_dim, 8]
    files = [runtime, programs / "bitnet_onnx_ops.dll", artifact.model_path]
    paths = ["Z:" + str(file).replace("/", "\\") for file in files]
    said = wine(prefix, programs / "greedy.exe", *paths, *map(str, [*sizes, *ids]))
    assert said.splitlines() == expected
