"""The program for boards where it is to run: emulated 64-bit Arm, the package, the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bitnet_onnx.runtime.session import Session
from tests.support.environment import of_another_cpu
from tests.support.native.board import BUILD, program
from tests.support.paths import ROOT
from tests.support.questions import LIMIT, answers, questions

BOARD = ROOT / "mobile_demo" / "board"
ARM = Path(os.environ.get("BITNET_EDGE_BOARD_ARM64", ROOT / "build" / "board-arm64"))
ASKED = int(os.environ.get("BITNET_EDGE_ARM_QUESTIONS", "20"))  # of 1,200; evenly over the file
CPUS = {"cortex-a53": "neon", "cortex-a72": "neon", "cortex-a76": "neon_dotprod"}

needs_arm = pytest.mark.skipif(
    not (ARM / "bitnet-edge").is_file() or not shutil.which("qemu-aarch64-static"),
    reason="the program for 64-bit Arm is not built: make board ARCH=arm64",
)


@pytest.mark.slow
@needs_arm
@pytest.mark.parametrize("cpu", CPUS)
def test_an_emulated_cpu_gives_the_ids_of_python(cpu: str, demo_artifact: Path) -> None:
    found = questions()
    asked = found[:: len(found) // ASKED][:ASKED]
    done = subprocess.run(
        [BOARD / "emulated.sh", cpu, ARM, ARM / "bitnet-edge", demo_artifact, "--json",
         "--max-new-tokens", str(LIMIT)],
        input="".join(record["question"] + "\n" for record in asked).encode(),
        capture_output=True, env=of_another_cpu(), timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    with Session(demo_artifact) as session:
        assert [record["ids"] for record in told] == answers(session, demo_artifact, asked)
    assert {record["stats"]["kernel"] for record in told} == {CPUS[cpu]}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb")
@pytest.mark.parametrize(
    "build", [BUILD, pytest.param(ARM, marks=needs_arm)], ids=["here", "arm64"]
)
def test_the_debian_package_holds_what_runs(
    build: Path, demo_artifact: Path, tmp_path: Path
) -> None:
    program()
    cpack = shutil.which("cpack") or str(ROOT / ".venv" / "bin" / "cpack")
    call: list[str | Path] = [cpack, "--config", build / "CPackConfig.cmake", "-B", tmp_path]
    subprocess.run(call, check=True, capture_output=True)
    (package,) = tmp_path.glob("bitnet-edge_*.deb")
    fields = subprocess.run(
        ["dpkg-deb", "-f", package], check=True, capture_output=True, text=True
    ).stdout
    assert ("Architecture: arm64" in fields) == (build == ARM)
    assert "Package: bitnet-edge\n" in fields
    system = tmp_path / "system"
    subprocess.run(["dpkg-deb", "-x", package, system], check=True)
    doc = system / "usr" / "share" / "doc" / "bitnet-edge"
    assert {"README.md", "copyright", "onnxruntime-LICENSE"} <= {
        path.name for path in doc.iterdir()
    }
    emulator: list[str | Path] = [BOARD / "emulated.sh", "cortex-a72", tmp_path]
    emulated = emulator if build == ARM else []
    done = subprocess.run(
        [*emulated, system / "usr" / "bin" / "bitnet-edge", demo_artifact, "What is 27 + 5?"],
        capture_output=True, env=of_another_cpu(), timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"32\n"), done.stderr


def test_the_unit_s_command_is_one_that_the_program_knows() -> None:
    unit = (BOARD / "systemd" / "bitnet-edge.service").read_text("utf-8")
    commands = re.findall(r"^#?ExecStart=/usr/bin/bitnet-edge (.*)$", unit, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run([program(), *command.split()], capture_output=True, timeout=60)
        assert b"/usr/local/share/bitnet-edge/model" in done.stderr or b"unix:" in done.stderr
    for option in ("DynamicUser=yes", "ProtectSystem=strict", "IPAddressDeny=any"):
        assert f"\n{option}\n" in unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "bitnet-edge.service"
    text = (BOARD / "systemd" / "bitnet-edge.service").read_text("utf-8")
    unit.write_text(text.replace("/usr/bin/bitnet-edge", str(program())))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if "bitnet-edge" in line]
    assert said == [], done.stderr
