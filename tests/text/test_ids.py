"""Ids are those of transformers' AutoTokenizer, whatever the files of a tokenizer say."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.text import tokenizer_class
from bitnet_onnx.text.streaming import StreamDecoder
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.text import folders

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
transformers = pytest.importorskip("transformers")


def differences(folder: Path, texts: list[str], skip: bool = True) -> list[Any]:
    """Return what differs from transformers: ids of texts, text of ids, the same streamed.

    An eos that the post-processor adds at the end is left out here.
    """
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    ours = Tokenizer.from_folder(folder)
    found: list[Any] = []
    randomly = random.Random(0)
    rows = [[randomly.randrange(ours.vocab_size) for _ in range(8)] for _ in range(40)]
    for text in texts:
        want = theirs(text).input_ids
        rows.append(want)
        got = ours.encode(text)
        if got not in (want, [*want[:-1]] if want[-1:] == [theirs.eos_token_id] else want):
            found.append((text, want, got))
        want = theirs(text, add_special_tokens=False).input_ids
        if ours.encode(text, add_special_tokens=False) != want:
            found.append((text, want, ours.encode(text, add_special_tokens=False)))
    for ids in rows:
        shown, text = theirs.decode(ids, skip_special_tokens=skip), ours.decode(ids, skip)
        stream = StreamDecoder(ours, skip)
        pieces = "".join([*map(stream.push, ids), stream.flush()])
        if not shown == text == pieces:
            found.append((ids, shown, text, pieces))
    return found


@pytest.mark.parametrize("post", ["none", "bos", "bytelevel", "boseos"])
def test_the_post_processor_decides_about_bos(tmp_path: Path, post: str) -> None:
    different = {}
    for number, (name, files) in enumerate(folders.bos_matrix(post)):
        folder = folders.write(files, tmp_path / str(number))
        theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
        want = [token for token in theirs("hi").input_ids if token != 2]
        got = Tokenizer.from_folder(folder).encode("hi")
        if got != want:
            different[name] = (want, got)
    assert different == {}
    assert number == 71


@pytest.mark.parametrize("name", folders.variants())
def test_variants_of_a_byte_level_tokenizer(tmp_path: Path, name: str) -> None:
    folder = folders.write(folders.variants()[name], tmp_path / "t")
    texts = folders.TEXTS
    if name == "dropout":  # transformers draws, so the oracle is the file without it
        assert Tokenizer.from_folder(folder).encode("hello") == Tokenizer.from_folder(
            folders.write(folders.variants()["plain"], tmp_path / "p")
        ).encode("hello")
        texts = []
    assert differences(folder, texts) == []
    assert differences(folder, texts, skip=False) == []


@pytest.mark.parametrize("name", folders.kinds())
def test_other_models_classes_and_post_processors(tmp_path: Path, name: str) -> None:
    folder = folders.write(folders.kinds()[name], tmp_path / "t")
    assert differences(folder, folders.TEXTS) == []


@pytest.mark.parametrize("name", folders.beside())
def test_the_files_beside_decide_too(tmp_path: Path, name: str) -> None:
    folder = folders.write(folders.beside()[name], tmp_path / "t")
    assert differences(folder, folders.TEXTS) == []


WRITES_BOS = "<s>{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
NO_BOS = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}"


@pytest.mark.parametrize("template", [WRITES_BOS, WRITES_BOS.replace("<s>", "<s><s>"), NO_BOS])
@pytest.mark.parametrize("name", ["metaspace", "several-tokens", "class-GPTNeoXTokenizer"])
def test_chats_have_the_ids_of_apply_chat_template(
    tmp_path: Path, name: str, template: str
) -> None:
    files = folders.kinds()[name]
    files["tokenizer_config.json"]["chat_template"] = template
    folder = folders.write(files, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": " a  b"}]
    want = theirs.apply_chat_template(messages, return_dict=False)
    ours = Tokenizer.from_folder(folder)
    if template == NO_BOS:  # the tokenizer's own beginning, if it has one
        want = [*theirs("").input_ids, *want]
        want = [token for token in want if token != folders.EOS]
    assert ours.encode_chat(messages, add_generation_prompt=False) == want


def test_each_class_of_transformers_is_known_or_refused() -> None:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    names = {str(name).removesuffix("Fast") for name in TOKENIZER_MAPPING_NAMES.values() if name}
    refused = {name for name in names if name.removesuffix("Tokenizer") in tokenizer_class._UNKNOWN}
    as_written = {"TokenizersBackend", "ParakeetTokenizer"}
    assert names - refused - as_written <= set(tokenizer_class._BUILDERS)
    for name in tokenizer_class._UNKNOWN:
        assert hasattr(transformers, f"{name}Tokenizer"), name
