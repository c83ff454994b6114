"""The program for boards where it is to run: emulated 64-bit Arm."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bitnet_onnx.runtime.session import Session
from tests.support.environment import of_another_cpu
from tests.support.native.board import ARM, needs_arm
from tests.support.paths import ROOT
from tests.support.questions import LIMIT, answers, questions

BOARD = ROOT / "mobile_demo" / "board"
ASKED = int(os.environ.get("BITNET_EDGE_ARM_QUESTIONS", "20"))  # of 1,200; evenly over the file
CPUS = {"cortex-a53": "neon", "cortex-a72": "neon", "cortex-a76": "neon_dotprod"}


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
