"""The app's code without a phone: its class, and the APK's own libraries, give Python's ids."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.android import glibc, ids

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
@pytest.mark.parametrize("way", COUNT)
def test_ids_are_pythons(model: ids.Model, expected: list[list[int]], way: str) -> None:
    lacking = ids.needs(way)
    if lacking:
        pytest.skip(f"no {', '.join(lacking)}")
    assert ids.WAYS[way](model.first(COUNT[way])) == expected[: COUNT[way]]


TEXTS = [
    *("plain", " two  spaces", "Grüße, Δ и 日本", "🐣 and 👩\u200d🚀", "a\0b", "\x7f\t\r\n"),
    *("\U0010ffff", "<|end_of_text|>", "ｆｕｌｌ", "e\u0301", "\u202eright", "x" * 3000),
]


@pytest.mark.slow
def test_texts_sentences_and_exceptions_cross(model: ids.Model) -> None:
    lacking = ids.needs("desktop JVM")
    if lacking:
        pytest.skip(f"no {', '.join(lacking)}")
    tokenizer = Tokenizer.from_folder(model.artifact)
    assert ids.crossing(model, TEXTS) == [tokenizer.encode(text) for text in TEXTS]


def test_versions_of_symbols_are_left_out(tmp_path: Path) -> None:
    """Else glibc would refuse a library that asks for those of Android."""
    if not ids.apk().is_file():
        pytest.skip(f"no {ids.apk().name}: make apk")
    for path in glibc.unpack(ids.apk(), "x86_64", tmp_path / "android"):
        command = ["readelf", "-dW", str(path)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "(NEEDED)" in listed
        assert not re.search(r"\((VERSYM|VERNEED|VERDEF)", listed)
