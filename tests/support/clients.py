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

from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.session import Session
from tests.support import questions
from tests.support.paths import ROOT

__all__ = [
    "Cases",
    "answers",
    "documented",
    "ids_of",
    "node_with",
    "ours",
    "python_with",
    "run",
]

PAGE = ROOT / "docs" / "clients.md"
BUILDS = ROOT / "build" / "clients"  # made once, and again for other versions
QUESTIONS = 50  # of all kinds
OFFLINE = re.compile(
    r"No matching distribution|Connection|Temporary failure|timed out"
    r"|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network",
    re.I,
)

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
    results = (generate(session, [p], max_new_tokens=steps, eos_token_id=eos) for p in prompts)
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
NODE = """
import { readFileSync } from "node:fs";
const answered = [];
for (const question of JSON.parse(readFileSync("questions.json"))) answered.push(await answer(question));
console.log(JSON.stringify(answered));
"""  # noqa: E501


def answers(
    client: str, program: Path, artifact: Path, folder: Path, cases: Cases
) -> list[list[int]]:
    """What the documented lines answer in ``folder``, where they find the artifact.

    program: the client's interpreter. The lines print their own question's answer first.
    """
    shutil.copytree(artifact, folder / "artifact")
    (folder / "questions.json").write_text(json.dumps([question for question, _ in cases]))
    name, asking = ("ask.mjs", NODE) if program.name.startswith("node") else ("ask.py", PYTHON)
    (folder / name).write_text(documented(client) + asking)
    shown, found = run(program, name, cwd=folder).splitlines()[-2:]
    assert shown == "32"  # What is 27 + 5?
    decoded: list[list[int]] = json.loads(found)
    return decoded


def run(program: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    """What it writes to stdout; it finds nothing of this checkout and asks no server."""
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
        _install(folder, *pip, "--no-warn-conflicts", *pins)
    return python


def node_with(sources: Path) -> tuple[Path, Path]:
    """Node, and a folder with the packages of a package-lock.json; programs must lie below it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        pytest.skip("Node is missing: make web")
    texts = {file.name: file.read_text("utf-8") for file in sorted(sources.iterdir())}
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
    if done.returncode and OFFLINE.search(said):
        pytest.skip(f"the packages of {folder.name} cannot be fetched: no package index answers")
    assert done.returncode == 0, said
    (folder / ".made").touch()
