"""The wheel, alone in a clean environment, without extras: what a device gets."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import packaged
from tests.support.environment import no_network, of_another_cpu
from tests.support.paths import ROOT

LIBRARY = "bitnet_onnx/lib/libbitnet_onnx_ops.so"
PROMPT = "What is 3 + 4?"
MEGABYTE = 1_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files"),
]


def call(
    *command: str | Path, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Outside the checkout and without its import path, as a user would."""
    kept = {k: v for k, v in environment.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd="/", env=kept
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = call(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    if done.returncode and no_network(done.stdout + done.stderr):
        pytest.skip("pip cannot get scikit-build-core: no package index answers")
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def library(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(LIBRARY, tmp_path_factory.mktemp("library")))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and its dependencies alone."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    made = call(sys.executable, "-m", "venv", folder)
    assert made.returncode == 0, made.stderr
    interpreter = folder / "bin" / "python"
    done = call(interpreter, "-m", "pip", "install", wheel)
    if done.returncode and no_network(done.stderr):
        pytest.skip("pip cannot get the dependencies: no package index answers")
    assert done.returncode == 0, done.stderr
    return interpreter


def generated_ids(
    artifact: Path, *python: str | Path, environment: Mapping[str, str] = os.environ
) -> str:
    done = call(*python, "-m", "bitnet_onnx", "generate", artifact, PROMPT, "--format", "ids",
                "--max-new-tokens", "16", environment=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)
    return done.stdout


def test_one_wheel_for_every_python(wheel: Path) -> None:
    machine = re.escape(platform.machine())
    assert re.fullmatch(
        rf"bitnet_onnx-\d+\.\d+\.\d+-py3-none-\w*linux\w*_{machine}\.whl", wheel.name
    )


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bitnet_onnx"}
    assert [n for n in names if n.startswith("bitnet_onnx/lib/")] == [LIBRARY]
    assert packaged.tracked_files() <= set(names)


def test_the_wheel_holds_the_page_for_browsers(wheel: Path, built_page: Path) -> None:
    built = {str(path.relative_to(ROOT)) for path in built_page.rglob("*.*")}
    assert built == {n for n in zipfile.ZipFile(wheel).namelist() if "onnx/web/" in n}


def test_the_library_needs_libc_only(library: Path) -> None:
    listing = subprocess.run(
        ["readelf", "-dW", library], capture_output=True, text=True, check=True
    )
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", listing.stdout) == ["libc.so.6"]


def test_the_library_exports_what_its_map_lists(library: Path) -> None:
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", "-P", library], capture_output=True, text=True, check=True
    )
    exported = {line.split()[0] for line in symbols.stdout.splitlines()}
    assert exported == packaged.exported_symbols()
    assert all(n == "RegisterCustomOps" or n.startswith("bitnet_onnx_") for n in exported)


def test_the_library_is_small(library: Path) -> None:
    assert library.stat().st_size <= 300_000


def test_the_installation_is_small(python: Path) -> None:
    """What a device stores beside Python; pip itself came with the environment."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    ours = (p for p in packages.iterdir() if not p.name.startswith(("pip", "setuptools")))
    files = [f for top in ours for f in (top.rglob("*") if top.is_dir() else [top])]
    assert sum(f.stat().st_size for f in files if f.is_file()) <= 224 * MEGABYTE


USER = """
import bitnet_onnx
import numpy as np

with bitnet_onnx.load("artifact") as model:
    model.session.prefill([np.int64(1), 2])
    model.session.decode((1,))
    model.session.reorder(np.array([0]))
    model.session.reorder([np.int32(0)])
    model.generate(np.array([1]))
    reveal_type(model.generate("Hello", bitnet_onnx.GenerationConfig(max_new_tokens=8)).text)
    text: str = "".join(model.stream("Hello", max_new_tokens=8))
"""


def test_a_users_program_passes_strict_mypy(python: Path, tmp_path: Path) -> None:
    """The types of the installed package are the user's types, without the export's packages."""
    program = tmp_path / "program.py"
    program.write_text(USER)
    checker: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        tmp_path / "cache",
    ]
    done = call(*checker, "--python-executable", python, program)
    assert done.returncode == 0, done.stdout
    assert 'Revealed type is "str"' in done.stdout
    program.write_text(USER.replace("text: str", "text: int"))
    assert call(*checker, "--python-executable", python, program).returncode == 1


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript", "safetensors", "transformers"])
def test_no_extra_came_along(python: Path, package: str) -> None:
    done = call(python, "-c", f"import {package}")
    assert "ModuleNotFoundError" in done.stderr


def test_the_script_answers(python: Path) -> None:
    done = call(python.parent / "bitnet-onnx", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("export", "generate", "chat", "bench", "verify", "info", "synthesize"):
        assert command in done.stdout
    done = call(python.parent / "bitnet-onnx", "info")
    assert done.returncode == 0, done.stderr
    assert "scalar" in done.stdout


def test_export_without_the_extra_says_what_to_install(
    python: Path, demo_checkpoint: Path, tmp_path: Path
) -> None:
    done = call(python, "-m", "bitnet_onnx", "export", demo_checkpoint, "-o", tmp_path / "artifact")
    assert done.returncode == 2
    assert "bitnet-onnx[export]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_wheel_generates_the_same_ids(python: Path, demo_artifact: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bitnet_onnx", "generate", demo_artifact, PROMPT, "--format", "ids",
         "--max-new-tokens", "16"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert generated_ids(demo_artifact, python) == done.stdout


@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates an x86-64 CPU")
def test_a_cpu_without_avx_generates_the_same_ids(python: Path, demo_artifact: Path) -> None:
    """Nehalem: SSE4.2 and nothing later, which is also the least that NumPy's wheel runs on."""
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("no qemu-x86_64: apt-get install qemu-user-static")
    old: list[str | Path] = [emulator, "-cpu", "Nehalem", python]
    environment = of_another_cpu()
    active = call(*old, "-m", "bitnet_onnx", "info", environment=environment)
    assert active.returncode == 0, active.stderr
    assert "avx" not in active.stdout.lower()
    there = generated_ids(demo_artifact, *old, environment=environment)
    assert there == generated_ids(demo_artifact, python)
