"""The app's classes in a desktop's Java, with the engine that `make board` built for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mobile_demo.android.tools import native
from tests.support.native import edge
from tests.support.paths import ROOT

__all__ = ["MAIN", "PROGRAMS", "java", "library", "lines", "said"]

HERE = Path(__file__).parent
MAIN = ROOT / "mobile_demo" / "android" / "app" / "src" / "main"
STAND_INS = HERE / "stand_ins"
EDGE = MAIN / "java/org/bitnetonnx/edge"
CHAT = MAIN / "java/org/bitnetonnx/chat"
# The classes that run on stand-ins for Android's, and for those that read its storage.
TALK = [
    *(CHAT / "talk" / f"{name}.java" for name in
      ("Assistant", "Conversation", "Settings", "Turn", "Worker")),
    CHAT / "models" / "ModelException.java",
    CHAT / "Watcher.java",
]  # fmt: skip
PROGRAMS = ["c++", "javac"]


def library(folder: Path) -> Path:
    """Link jni.cc to the engine; return the folder of the library that Java loads."""
    made = folder / "desktop"
    made.mkdir(exist_ok=True)
    include = native.java_home() / "include"
    said(
        "c++", "-shared", "-fPIC", "-O1", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-Wall",
        "-Wextra", "-Werror", "-fvisibility=hidden", "-I", include, "-I", include / "linux",
        "-I", ROOT / "mobile_demo" / "engine", MAIN / "cpp" / "jni.cc",
        edge.program("libbitnet_edge.a"), "-o", made / "libbitnet_edge_jni.so",
        f"-Wl,--version-script={MAIN / 'cpp' / 'exports.map'},--no-undefined", "-ldl", "-lm",
    )  # fmt: skip
    return made


def java(
    name: str,
    folder: Path,
    libraries: Path,
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
) -> str:
    """Return what a class beside this file prints, run with the app's own."""
    classes = folder / f"classes-{name}"
    sources = [*EDGE.glob("*.java"), HERE / f"{name}.java"]
    if name == "Talk":
        sources += [*TALK, *STAND_INS.rglob("*.java")]
    said("javac", "-encoding", "UTF-8", "-d", classes, *sources)
    return said(
        "java", "-ea", "-Xcheck:jni", f"-XX:ErrorFile={folder}/crash.log",
        f"-Djava.library.path={libraries}", "-cp", classes, name, *arguments,
        environment=environment,
    )  # fmt: skip


def lines(
    name: str, folder: Path, *arguments: str | Path, environment: dict[str, str] | None = None
) -> list[str]:
    """Return the lines that a class prints; skip the test where this machine has no Java."""
    lacking = [program for program in PROGRAMS if not shutil.which(program)]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)}")
    return java(name, folder, library(folder), *arguments, environment=environment).splitlines()


def said(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=os.environ | (environment or {}),
    )
    assert done.returncode == 0, f"{command[0]}\n{done.stdout}{done.stderr}"
    return done.stdout
