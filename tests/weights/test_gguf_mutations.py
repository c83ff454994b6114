"""Randomly damaged GGUF files are read or refused, in bounded memory, with fixed seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import gguf_files
from tests.support.checkpoints import DAMAGES
from tests.support.gguf_files import SMALL, bonsai
from tests.support.paths import ROOT

RUN = """
import json, os, random, resource, sys, traceback
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # torch alone maps 4 GB
sys.path.insert(0, "tests")
from tests.support.checkpoints import read_all
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.errors import BitNetError
import tokenizers


def read(path):
    checkpoint = open_checkpoint(path)
    read_all(checkpoint)
    files = checkpoint.text_files()
    checkpoint.notes
    if "tokenizer.json" in files and "tokenizer.huggingface.json" not in checkpoint._file.fields:
        # What is built here must be a tokenizer.
        tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode()).encode("a b<x>")


def read_damaged(path, count):
    whole = path.read_bytes()
    head = open_checkpoint(path)._file._reader.at
    read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    interesting = [0, 1, 2, 3, 7, 8, 9, 0x7F, 0x80, 0xFF]
    refused = 0
    for seed in range(count):
        numbers = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(numbers.choice([1, 1, 1, 2, 8])):
            at = numbers.randrange(numbers.choice([24, head, head, head, len(whole)]))
            how = numbers.randrange(4)
            if how == 0:
                damaged[at] ^= 1 << numbers.randrange(8)
            elif how == 1:
                damaged[at] = numbers.choice(interesting)
            elif how == 2:
                some = [bytes(8), b"\\xff" * 8, numbers.randbytes(8)]
                damaged[at : at + 8] = numbers.choice(some)
            else:
                other = numbers.randrange(head)
                damaged[at : at + 8] = whole[other : other + 8]
        if seed % 20 == 0:
            del damaged[numbers.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            read(path)
        except BitNetError as error:
            message = str(error)
            assert str(path) in message and "\\n" not in message and len(message) < 600, message
            refused += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"refused": refused, "grown": grown}


# Each file in a fork, which has a peak of its own: torch takes seconds to start.
for name, count in json.loads(sys.argv[1]).items():
    path = Path(name)
    child = os.fork()
    if not child:
        try:
            said = read_damaged(path, count)
        except BaseException:
            said = {"failed": traceback.format_exc()}
        path.with_suffix(".json").write_text(json.dumps(said))
        os._exit(0)
    code = os.waitpid(child, 0)[1]
    if code:
        path.with_suffix(".json").write_text(json.dumps({"failed": f"the status is {code}"}))
"""


TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "tokens": ["a", "b", "ab", "<x>"],
        "token_type": [1, 1, 1, 3],
        "merges": ["a b"],
        "pre": "qwen2",
        "add_bos_token": False,
    },
    "llama": {
        "tokens": ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "b", "ab", "\u2581ab", "<x>"],
        "token_type": [2, 3, 3, 6, 1, 1, 1, 1, 1, 4],
        "scores": [0.0, 0.0, 0.0, 0.0, -9.0, -8.0, -7.0, -1.0, -2.0, -1000.0],
        "add_space_prefix": True,
        "add_eos_token": True,
    },
}


KINDS = [
    ("x86", "F16", "gpt2"),
    ("x86", "F16", "llama"),
    ("TQ1_0", "Q4_K", "gpt2"),
    ("Q2_0", "Q2_0", ""),
    ("PQ2_0", "PQ2_0", ""),
    ("PTQ1_0", "PTQ1_0", ""),
]
"""Of the files: how linears and the table are held, and the kind of tokenizer."""


def count_of(linear: str) -> int:
    return DAMAGES if linear == "x86" else DAMAGES // 20


def made(folder: Path, linear: str, table: str, model: str) -> Path:
    folder.mkdir()
    sizes = SMALL if linear == "x86" else {**SMALL, "hidden": 256, "inner": 256}
    if model:
        fields = {"model": model, **TOKENIZERS[model]}
        metadata = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
        metadata["tokenizer.chat_template"] = "{{ messages }}"
        options = {"linear": linear, "table": table, "vocab": 16, "metadata": metadata, **sizes}
        path, *_ = gguf_files.make(folder / "m.gguf", **options)
    else:
        path, _ = bonsai(folder, linear, table=table)
    return path


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Any]:
    """What a process with limited memory says of each file, after it has read all its damages."""
    folder = tmp_path_factory.mktemp("damaged")
    files = {kind: made(folder / "-".join(kind), *kind) for kind in KINDS}
    asked = {str(path): count_of(kind[0]) for kind, path in files.items()}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(asked)],
        capture_output=True, text=True, timeout=600, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {kind: json.loads(path.with_suffix(".json").read_text()) for kind, path in files.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_damaged_files_are_read_or_refused_but_never_crash(
    outcomes: dict[tuple[str, str, str], Any], kind: tuple[str, str, str]
) -> None:
    """Only a BitNetError may be raised."""
    said = outcomes[kind]
    assert "failed" not in said, said["failed"]
    assert said["refused"] > count_of(kind[0]) // 3
    assert said["grown"] < 64 << 10  # KiB
