"""The package on 64-bit Arm: its wheel, pip's arm64 wheels and Debian's arm64 Python, emulated.

The emulator sees build/arm64-root as the system; the package is run by its own command.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import of_another_cpu
from tests.support.paths import ROOT

BUILD = ROOT / "build"
EMULATOR = "qemu-aarch64-static"
PLATFORM = "manylinux_2_17_aarch64"
# Of the platforms in pip's words: what ONNX Runtime's wheels ask of the C library, and less.
PLATFORMS = ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64", PLATFORM, "manylinux2014_aarch64"]
LIMIT = "32"  # new tokens; the longest answer is shorter
QUESTIONS = 50
FORCED = 3  # prompts for each kernel that is not the best one

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"no {EMULATOR}: qemu-user-static"),
    pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt-get: arm64 Python is Debian's"),
]


def call(*command: str | Path, **environment: str) -> str:
    ours = ("PYTHONPATH", "BITNET_ONNX_LIBRARY", "BITNET_ONNX_KERNEL")
    kept = {k: v for k, v in of_another_cpu().items() if k not in ours}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=kept | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def root() -> Path:
    """A folder with an arm64 system's Python."""
    folder = BUILD / "arm64-root"
    if not folder.exists():
        try:
            call(ROOT / "tests" / "arm64_root.sh", folder)
        except AssertionError as error:
            pytest.skip(f"apt-get has no arm64 packages here: {str(error)[-200:]}")
    return folder


@pytest.fixture(scope="module")
def packages(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and what it needs, as pip chooses them for an arm64 device."""
    pytest.importorskip("ziglang")
    folder = tmp_path_factory.mktemp("arm64")
    call(sys.executable, "-m", "custom_ops.wheels", PLATFORM, "--outdir", folder)
    (wheel,) = folder.glob("*.whl")
    (python,) = (root / "usr" / "bin").glob("python3.??")
    call(sys.executable, "-m", "pip", "install", "--target", folder / "site",
         "--only-binary", ":all:", "--implementation", "cp",
         "--python-version", python.name.removeprefix("python"),
         *(f"--platform={platform}" for platform in PLATFORMS), wheel)  # fmt: skip
    return folder / "site"


def cli(root: Path, packages: Path, *arguments: str | Path, **environment: str) -> str:
    """The installed command `bitnet-onnx`, emulated; --threads 1: threads only cost an emulator."""
    (python,) = (root / "usr" / "bin").glob("python3.??")
    return call(
        EMULATOR, "-L", root, python, packages / "bin" / "bitnet-onnx", *arguments,
        PYTHONPATH=str(packages), ORT_DISABLE_TELEMETRY="1", **environment,
    )  # fmt: skip


def ids_here(artifact: Path, prompts: Path) -> str:
    return call(sys.executable, "-m", "bitnet_onnx", "generate", artifact, "--prompts-file",
                prompts, "--max-new-tokens", LIMIT, "--format", "ids")  # fmt: skip


def ids_there(root: Path, packages: Path, artifact: Path, prompts: Path, **environment: str) -> str:
    return cli(root, packages, "generate", artifact, "--prompts-file", prompts,
               "--max-new-tokens", LIMIT, "--format", "ids", "--threads", "1",
               **environment)  # fmt: skip


def questions(folder: Path, count: int) -> Path:
    """So many held-out questions, evenly over the file and so over its kinds, one a line."""
    lines = (ROOT / "bitnet_onnx" / "demo" / "questions.jsonl").read_text("utf-8").splitlines()
    chosen = [json.loads(line)["question"] for line in lines[:: len(lines) // count]][:count]
    path = folder / "questions.txt"
    path.write_text("\n".join(chosen), "utf-8")
    return path


def test_fifty_questions_get_the_same_ids(
    root: Path, packages: Path, demo_artifact: Path, tmp_path: Path
) -> None:
    asked = questions(tmp_path, QUESTIONS)
    there = ids_there(root, packages, demo_artifact, asked)
    assert len(there.splitlines()) == QUESTIONS
    assert there == ids_here(demo_artifact, asked)


@pytest.mark.parametrize("kernel", ["neon_dotprod", "neon"])
def test_a_lesser_kernel_gives_the_same_ids(
    root: Path, packages: Path, demo_artifact: Path, tmp_path: Path, kernel: str
) -> None:
    asked = questions(tmp_path, FORCED)
    there = ids_there(root, packages, demo_artifact, asked, BITNET_ONNX_KERNEL=kernel)
    assert there == ids_here(demo_artifact, asked)


def test_the_best_kernel_runs(root: Path, packages: Path) -> None:
    """So that the fifty questions above are neon_i8mm's."""
    said = cli(root, packages, "info")
    assert "aarch64" in said
    assert "active kernel  neon_i8mm\n" in said
