"""Other clients of the artifact: environments for their packages, the lines that docs/clients.md
shows for them, and the questions that each is asked.

A client runs in a process of its own: it brings another ONNX Runtime, or none of this package.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from hashlib import sha256
from pathlib import Path

import pytest

from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.session import Session
from tests.support import questions
from tests.support.environment import no_network
from tests.support.paths import ROOT

__all__ = [
    "BROWSER",
    "NODE",
    "PYTHON",
    "Cases",
    "answers",
    "documented",
    "ids_of",
    "node_with",
    "ours",
    "prepare",
    "python_with",
    "run",
]

PAGE = ROOT / "docs" / "clients.md"
BUILDS = ROOT / "build" / "clients"  # made once, and again for other versions
QUESTIONS = 50  # of all kinds
PACKAGES = ("package.json", "package-lock.json", ".npmrc")

Cases = list[tuple[str, list[int]]]
"""Questions, and the ids that the loop of bitnet_onnx answers them with."""


def ours(folder: Path) -> Cases:
    """QUESTIONS of the bundled model's, evenly over the kinds, with its greedy answers."""
    records = questions.compared()
    records = records[:: len(records) // QUESTIONS][:QUESTIONS]
    ids = questions.answers(Session(folder, threads=1), folder, records)
    return [(record["question"], answer) for record, answer in zip(records, ids, strict=True)]


def ids_of(folder: Path, prompts: list[list[int]], steps: int) -> list[list[int]]:
    """The loop's ids for each prompt alone, until an eos, which is part of the answer."""
    eos = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    session = Session(folder, threads=1)
    config = GenerationConfig(max_new_tokens=steps, eos_token_id=eos)
    results = (generate(session, [p], config) for p in prompts)
    return [row.ids for (row,) in results]


def documented(client: str) -> str:
    """The lines that docs/clients.md marks with ``<!-- test: client -->``."""
    pattern = rf"^<!-- test: {re.escape(client)} -->\n```\w+\n(.*?)^```$"
    (lines,) = re.findall(pattern, PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(lines)


PYTHON = """
import json
print(json.dumps([answer(question) for question in json.load(open("questions.json"))]))
"""
JAVASCRIPT = """
const answered = [];
for (const question of questions) answered.push(await answer(question));
console.log(JSON.stringify(answered));
"""
NODE = 'import questions from "./questions.json" with { type: "json" };' + JAVASCRIPT
BROWSER = 'const questions = await (await fetch("/questions.json")).json();' + JAVASCRIPT


def prepare(folder: Path, artifact: Path, cases: Cases) -> None:
    """The folder in which documented lines run: they find the artifact beside them."""
    shutil.copytree(artifact, folder / "artifact")
    (folder / "questions.json").write_text(json.dumps([question for question, _ in cases]))


def answers(said: str) -> list[list[int]]:
    """The ids for each question, which come after the answer that the lines show by themselves."""
    shown, ids = said.splitlines()[-2:]
    assert shown == "32"  # What is 27 + 5?
    decoded: list[list[int]] = json.loads(ids)
    return decoded


def run(program: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    """What the program writes to stdout; it finds nothing of this checkout and asks no server."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    quiet = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [program, *arguments], cwd=cwd, env=kept | quiet, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_with(name: str, *pins: str) -> Path:
    """An interpreter with these packages, and behind them those of the one that runs the tests.

    So only what differs is installed: torch, above all, is not fetched again.
    """
    behind = sysconfig.get_path("purelib")
    folder, made = _folder(name, *pins, sys.version, behind)
    python = folder / "bin" / "python"
    if not made:
        venv.create(folder, symlinks=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "behind.pth").write_text(behind)
        pip = (sys.executable, "-m", "pip", "--python", str(python), "install")
        _install(folder, *pip, "--no-compile", "--no-warn-conflicts", *pins)
    return python


def node_with(sources: Path) -> tuple[Path, Path]:
    """Node, and a folder with the packages of a package-lock.json; programs must lie below it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        pytest.skip("Node is missing: make web")
    texts = {name: (sources / name).read_text("utf-8") for name in PACKAGES}
    folder, made = _folder(sources.name, *texts.values())
    if not made:
        for file, text in texts.items():
            (folder / file).write_text(text)
        _install(folder, npm, "ci", "--no-progress", "--ignore-scripts", "--prefix", str(folder))
    return Path(node), folder


def _folder(name: str, *made_of: str) -> tuple[Path, bool]:
    """Where an environment of these parts is, and whether it is whole; else it is emptied."""
    digest = sha256("\n".join(made_of).encode()).hexdigest()[:12]
    folder = BUILDS / f"{name}-{digest}"
    made = (folder / ".made").exists()
    if not made:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return folder, made


def _install(folder: Path, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode and no_network(said):
        pytest.skip(f"the packages of {folder.name} cannot be fetched: no package index answers")
    assert done.returncode == 0, said
    (folder / ".made").touch()
