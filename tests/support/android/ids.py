"""The ids that the app's code answers with, without a phone, beside those of Python.

    python -m tests.support.android.ids COUNT [WORD]

asks COUNT questions in each way of WAYS, or in those whose names have WORD, and prints how many
answers have the same ids.
"""

from __future__ import annotations

import copy
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bitnet_onnx import __version__
from bitnet_onnx.runtime.session import Session
from custom_ops.wheels import DIST
from tests.support import questions
from tests.support.android import desktop, glibc
from tests.support.native.edge import onnxruntime_library
from tests.support.paths import ROOT

__all__ = ["WAYS", "Model", "apk", "needs", "numbers", "python_ids"]

HERE = Path(__file__).parent
EMULATOR = "qemu-aarch64-static"


@dataclass(frozen=True)
class Cpu:
    """An emulated CPU: its number at Arm, what it can, and the kernel for it."""

    part: str
    features: str
    kernel: str

    @property
    def cpuinfo(self) -> str:
        """What Linux says about it, which ONNX Runtime reads."""
        return (
            f"Features\t: fp asimd aes pmull sha1 sha2 crc32 cpuid {self.features}\n"
            f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
            f"CPU part\t: {self.part}\nCPU revision\t: 4\n\n"
        )


CPUS = {
    "cortex-a53": Cpu("0xd03", "", "arm_neon"),
    "cortex-a72": Cpu("0xd08", "", "arm_neon"),
    "cortex-a76": Cpu(
        "0xd0b", "atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp", "arm_neon_dotprod"
    ),
}


def apk(suffix: str = "") -> Path:
    return DIST / f"bitnet-{__version__}{suffix}.apk"


class Model:
    """A folder to work in, with a model and questions to ask it."""

    def __init__(self, folder: Path, count: int, artifact: Path | None = None) -> None:
        """Take the model out of the APK where no artifact is given."""
        self.folder = folder
        self.artifact = artifact or folder / "model"
        records = questions.questions()
        self.records = records[:: max(1, len(records) // count)][:count]
        if artifact is None:
            self._unpack()

    def _unpack(self) -> None:
        self.artifact.mkdir()
        with zipfile.ZipFile(apk()) as archive:
            for name in archive.namelist():
                if name.startswith("assets/model/"):
                    (self.artifact / Path(name).name).write_bytes(archive.read(name))

    @property
    def questions(self) -> Path:
        """A file of the questions, each with a NUL at its end."""
        path = self.folder / "questions"
        path.write_bytes(b"".join(each["question"].encode() + b"\0" for each in self.records))
        return path

    def first(self, count: int) -> Model:
        """Return the same folder with the first questions only."""
        other = copy.copy(self)
        other.records = self.records[:count]
        return other


def python_ids(model: Model) -> list[list[int]]:
    with Session(model.artifact) as session:
        return questions.answers(session, model.artifact, model.records)


def desktop_jvm(model: Model) -> list[list[int]]:
    """Answer by the app's class and this machine's compiler, in a desktop's Java."""
    libraries = desktop.library(model.folder)
    return _ids(
        desktop.java(
            "Replay",
            model.folder,
            libraries,
            model.artifact,
            onnxruntime_library(),
            model.questions,
        )
    )


def x86_64(model: Model) -> list[list[int]]:
    """Answer by the app's class and the APK's own libraries, in a desktop's Java."""
    folder = model.folder / "android" / "x86_64"
    glibc.unpack(apk(), "x86_64", folder)
    preload = model.folder / "bionic-x86_64.so"
    glibc.preload("x86_64", preload)
    environment = {"LD_LIBRARY_PATH": str(folder), "LD_PRELOAD": str(preload)}
    runtime = folder / "libonnxruntime.so"
    return _ids(
        desktop.java(
            "Replay", model.folder, folder, model.artifact, runtime, model.questions,
            environment=environment,
        )
    )  # fmt: skip


def arm64(model: Model, cpu: str = "cortex-a76") -> list[list[int]]:
    """Answer by the APK's own libraries, on an emulated CPU; see that it picks its kernel."""
    folder = model.folder / "android" / "arm64-v8a"
    program, preload = model.folder / "replay", model.folder / "bionic-arm64.so"
    if not folder.exists():
        glibc.unpack(apk(), "arm64-v8a", folder)
        glibc.preload("arm64-v8a", preload)
        include = ROOT / "mobile_demo" / "engine"
        source = HERE / "replay.c"
        desktop.said(
            glibc.COMPILERS["arm64-v8a"], "-O1", f"-I{include}", source, "-o", program, "-ldl"
        )
    done = desktop.said(
        EMULATOR, "-cpu", cpu, "-L", _arm64_root(model.folder / cpu, cpu),
        "-E", f"LD_LIBRARY_PATH={folder}", "-E", f"LD_PRELOAD={preload}",
        program, folder / "libbitnet_edge_jni.so", model.artifact, folder / "libonnxruntime.so",
        model.questions,
    )  # fmt: skip
    return _ids(done)


WAYS: dict[str, Callable[[Model], list[list[int]]]] = {
    "desktop JVM": desktop_jvm,
    "x86_64 in a JVM": x86_64,
    **{f"arm64-v8a, {cpu} emulated": partial(arm64, cpu=cpu) for cpu in CPUS},
}


def _arm64_root(root: Path, cpu: str) -> Path:
    """Return a folder where the emulator finds arm64's glibc, and what Linux says about the CPU."""
    if not root.exists():
        (root / "proc").mkdir(parents=True)
        (root / "lib").symlink_to("/usr/aarch64-linux-gnu/lib")
        each = "processor\t: {}\n" + CPUS[cpu].cpuinfo
        described = "".join(each.format(number) for number in range(os.cpu_count() or 1))
        (root / "proc" / "cpuinfo").write_text(described, "ascii")
    return root


def needs(way: str) -> list[str]:
    """Return the programs that a way needs and this machine lacks."""
    programs = {
        "desktop JVM": desktop.PROGRAMS,
        "x86_64 in a JVM": [glibc.COMPILERS["x86_64"], "javac"],
    }
    others = [glibc.COMPILERS["arm64-v8a"], EMULATOR]
    return [name for name in programs.get(way, others) if not shutil.which(name)]


def _ids(printed: str, kernel: str | None = None) -> list[list[int]]:
    """Return the lines after the first, which names the kernel that ran."""
    ran, _, answers = printed.partition("\n")
    assert kernel in (None, ran), f"the kernel {ran}, expected {kernel}"
    return numbers(answers)


def numbers(printed: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in printed.splitlines()]


def main() -> None:
    count, word = int(sys.argv[1]), "".join(sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder), count)
        expected = python_ids(model)
        for way in [name for name in WAYS if word in name]:
            lacking = needs(way)
            if lacking:
                print(f"{way}: not run, no {', '.join(lacking)}")
                continue
            same = sum(a == b for a, b in zip(WAYS[way](model), expected, strict=True))
            print(f"{way}: {same} of {len(expected)} answers have Python's ids", flush=True)


if __name__ == "__main__":
    main()
