"""The app's code without a phone: its classes, and the APK's own libraries, give Python's ids."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.android import desktop, glibc, ids
from tests.support.artifacts import with_json
from tests.support.native.edge import onnxruntime_library

COUNT = {way: 20 if "emulated" in way else 60 for way in ids.WAYS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ids.Model:
    if not ids.apk().is_file():
        pytest.skip(f"no {ids.apk().name}: make apk")
    return ids.Model(tmp_path_factory.mktemp("android"), max(COUNT.values()))


@pytest.fixture(scope="module")
def expected(model: ids.Model) -> list[list[int]]:
    return ids.python_ids(model)


@pytest.mark.slow
@pytest.mark.parametrize("way", [way for way in COUNT if way != "desktop JVM"])
def test_ids_are_pythons(model: ids.Model, expected: list[list[int]], way: str) -> None:
    lacking = ids.needs(way)
    if lacking:
        pytest.skip(f"no {', '.join(lacking)}")
    assert ids.WAYS[way](model.first(COUNT[way])) == expected[: COUNT[way]]


@pytest.mark.slow
def test_ids_are_pythons_without_an_apk(demo_artifact: Path, tmp_path: Path) -> None:
    lacking = ids.needs("desktop JVM")
    if lacking:
        pytest.skip(f"no {', '.join(lacking)}")
    model = ids.Model(tmp_path, COUNT["desktop JVM"], demo_artifact)
    assert ids.WAYS["desktop JVM"](model) == ids.python_ids(model)


TEXTS = [
    *("plain", " two  spaces", "Grüße, Δ и 日本", "🐣 and 👩\u200d🚀", "a\0b", "\x7f\t\r\n"),
    *("\U0010ffff", "<|end_of_text|>", "ｆｕｌｌ", "e\u0301", "\u202eright", "x" * 3000),
]


def test_texts_sentences_and_exceptions_cross(demo_artifact: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text("".join(text.encode().hex() + "\n" for text in TEXTS), "utf-8")
    printed = desktop.lines("Crossing", tmp_path, demo_artifact, onnxruntime_library(), texts)
    tokenizer = Tokenizer.from_folder(demo_artifact)
    assert ids.numbers("\n".join(printed)) == [tokenizer.encode(text) for text in TEXTS]


def test_a_conversation_without_a_phone(demo_artifact: Path, tmp_path: Path) -> None:
    """Stops before the first id, another model, the end of the process: nothing is lost."""
    chat = json.loads((demo_artifact / "chat.json").read_text("utf-8"))
    chat["conversation"]["system"] = None
    chat["conversation"]["user"]["refused"] = ["Ben"]
    narrow = with_json(demo_artifact, tmp_path / "narrow", "chat.json", chat)
    runtime = tmp_path / "onnxruntime" / "libonnxruntime.so"  # under the name that the app gives
    runtime.parent.mkdir()
    runtime.symlink_to(onnxruntime_library())
    searched = {"LD_LIBRARY_PATH": str(runtime.parent)}
    shown = desktop.lines("Talk", tmp_path, demo_artifact, narrow, environment=searched)
    assert shown == ["done"]


def test_versions_of_symbols_are_left_out(tmp_path: Path) -> None:
    """Else glibc would refuse a library that asks for those of Android."""
    if not ids.apk().is_file():
        pytest.skip(f"no {ids.apk().name}: make apk")
    for path in glibc.unpack(ids.apk(), "x86_64", tmp_path / "android"):
        command = ["readelf", "-dW", str(path)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "(NEEDED)" in listed
        assert not re.search(r"\((VERSYM|VERNEED|VERDEF)", listed)
