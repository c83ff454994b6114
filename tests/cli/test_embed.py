"""``bitnet-onnx embed``: JSON lines, a NumPy file, a table; mistakes are one sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

import bitnet_onnx
from bitnet_onnx.cli.main import main
from tests.support.embedding import networks as oracle
from tests.support.embedding.texts import write_prompts, write_tokenizer

TEXTS = ["Ternary", "weights \u00fc", "42"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    body, stored = oracle.random_body("gemma3_text")
    folder = oracle.save_body(tmp_path_factory.mktemp("embed") / "c", body, stored)
    write_tokenizer(folder)
    write_prompts(folder)
    assert main(["export", str(folder), "-o", str(folder.parent / "a")]) == 0
    return folder.parent / "a"


@pytest.fixture(scope="module")
def expected(artifact: Path) -> np.ndarray:
    with bitnet_onnx.load(artifact) as model:
        found: np.ndarray = model.embed(TEXTS)
        return found


def test_json_lines_hold_the_same_numbers(
    artifact: Path, expected: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(artifact), *TEXTS]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["index"], line["text"]) for line in lines] == list(enumerate(TEXTS))
    found = np.array([line["embedding"] for line in lines], np.float32)
    np.testing.assert_array_equal(found, expected)


def test_a_dash_is_stdout(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outs = []
    for options in ([], ["-o", "-"]):
        assert main(["embed", str(artifact), "a", *options]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] != ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", [None, "cp1252", "ascii"])
def test_stdout_of_any_kind_is_written_or_named(
    artifact: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    encoding: str | None,
) -> None:
    stream = None if encoding is None else io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["embed", str(artifact), "\u4e2d"]) == (2 if stream is None else 0)
    if stream is None:
        assert "stdout is closed" in capsys.readouterr().err
    else:
        stream.seek(0)
        assert json.loads(stream.read())["text"] == "\u4e2d"
    table = main(["embed", str(artifact), "\u4e2d", "--format", "table"])
    assert table == 2
    assert "stdout" in capsys.readouterr().err


def test_a_file_of_texts_becomes_a_numpy_file(
    artifact: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
    asked = ["--file", str(tmp_path / "texts.txt"), "--format", "npy", "--batch-size", "1"]
    assert main(["embed", str(artifact), *asked, "-o", str(tmp_path / "v.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected)
    asked += ["--dimensions", "5", "--prompt-name", "query"]
    assert main(["embed", str(artifact), *asked, "-o", str(tmp_path / "w.npy")]) == 0
    assert np.load(tmp_path / "w.npy").shape == (3, 5)


def test_a_table_shows_the_cosines(
    artifact: Path,
    expected: np.ndarray,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed = io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode()), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", typed)
    assert main(["embed", str(artifact), "--format", "table"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    found = [[float(x) for x in row[10:].split()[:3]] for row in rows]
    np.testing.assert_allclose(found, expected @ expected.T, atol=1e-4)
    assert [row[: len(text)] for row, text in zip(rows, TEXTS, strict=True)] == TEXTS


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["a", "--format", "npy"], "--format npy is given without --output"),
        (["a", "--format", "npy", "-o", "-"], "--format npy is given without --output"),
        (["a", "--file", "no-such-file"], "texts and --file are both given"),
        (["--file", "no-such-file"], "no-such-file cannot be read"),
        (["a", "--dimensions", "65"], "dimensions is 65, expected 1 to 64"),
        (["a", "--dimensions", "x"], "--dimensions"),
        (["a", "--batch-size", "0"], "batch_size is 0"),
        (["a", "--prompt-name", "x"], "prompt_name is 'x', expected one of"),
        (["a" * 900], "text 0 has 901 tokens"),
    ],
)
def test_mistakes_are_one_sentence(
    artifact: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    assert main(["embed", str(artifact), *arguments]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("error: ")
    assert what in errors[0]
    assert len(errors) <= 2


def test_each_command_refuses_an_artifact_for_the_other_task(
    artifact: Path, demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [["embed", str(demo_artifact), "a"], ["generate", str(artifact), "a"]]
    other += [["chat", str(artifact)], ["web", str(artifact)]]
    other += [["evaluate", str(artifact), "--text-file", str(artifact / "config.json")]]
    for command in other:
        assert main(command) == 2, command
        error = capsys.readouterr().err.splitlines()[0]
        assert "expected an artifact for" in error, command


def test_export_says_what_it_assumes(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(artifact.parent / "c")
    assert main(["export", source, "-o", str(tmp_path / "b"), "--pooling", "mean"]) == 0
    assert "note:" not in capsys.readouterr().err
    assert main(["export", source, "-o", str(tmp_path / "d"), "--for", "web"]) == 2
    said = capsys.readouterr().err
    assert "embeds texts, expected a network that generates" in said
    assert main(["info", str(tmp_path / "b")]) == 0
    assert '"task": "embedding"' in capsys.readouterr().out


def test_verify_compares_vectors(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(artifact.parent / "c")
    assert main(["verify", source, str(artifact)]) == 0
    assert "agree: with rounding ties resolved, vectors within" in capsys.readouterr().out
    (tmp_path / "p.txt").write_text("a\nTernary\n")
    asked = ["--prompts-file", str(tmp_path / "p.txt"), "--prompt-ids", "5,6", "--format", "json"]
    assert main(["verify", source, str(artifact), *asked]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["agree"]
    assert [len(text["text"]) for text in report["texts"]] == [2, 2, 8]
    for text in report["texts"]:
        assert text["difference_resolved"] == 0
        assert len(text["input_differences"]) == 21


def test_bench_counts_texts(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", str(artifact), "--prompt-tokens", "4", "--runs", "1"]
    assert main([*asked, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["text_tokens"], found["batch_size"], found["runs"]) == (4, 32, 1)
    assert found["texts_per_second"] > 0
    assert main(asked) == 0
    assert "texts            " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["verify", "C", "A", "--max-new-tokens", "3"], "--max-new-tokens is given, but"),
        (["verify", "C", "A", "--against", "transformers"], "transformers has no class for this"),
        (["verify", "C", "A", "--against", "x"], "against is 'x', expected one of"),
        (["verify", "C", "A", "--prompt-ids", "96"], "outside the vocabulary"),
        (["verify", "C", "A", "--prompt-ids", ",".join("1" * 65)], "a text has 65 ids"),
        (["bench", "A", "--max-new-tokens", "0"], "--max-new-tokens is given, but"),
        (["bench", "A", "--profile"], "--profile is given, but"),
        (["bench", "A", "--prompt-tokens", "65"], "texts of 65 tokens do not fit the context of"),
        (["bench", "A", "--prompt-tokens", "0"], "prompt_tokens is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_compared_or_measured_is_one_sentence(
    artifact: Path, capsys: pytest.CaptureFixture[str], command: list[str], what: str
) -> None:
    places = {"A": str(artifact), "C": str(artifact.parent / "c")}
    assert main([places.get(word, word) for word in command]) == 2
    assert what in capsys.readouterr().err.splitlines()[0]
