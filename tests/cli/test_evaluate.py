"""``bitnet-onnx evaluate``: its tables and JSON; mistakes are one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.evaluation.models import open_model
from tests.support.paths import DEMO
from tests.support.questions import questions

TEXT = "".join(f"User: {q['question']}\nAssistant: {q['answer']}\n" for q in questions()[:3])
SIZES = ["--max-length", "64", "--stride", "32"]


@pytest.fixture
def files(tmp_path: Path, demo_artifact: Path) -> dict[str, str]:
    """Return the paths that a test's arguments name in capitals."""
    asked = questions()[:4]
    answers = "\n".join(map(json.dumps, asked))
    choices = "\n".join(
        json.dumps({"question": q["question"], "choices": ["?!", q["answer"]], "answer": 1})
        for q in asked
    )
    contents = {
        "TEXT": TEXT.encode(), "SHORT": TEXT[:30].encode(), "EMPTY": b"",
        "LATIN": b"caf\xe9", "BLANK": b"\n \n",
        "CHOICES": choices.encode(), "ANSWERS": answers.encode(),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: str(tmp_path / name) for name in contents}
    return {**paths, "ARTIFACT": str(demo_artifact), "CHECKPOINT": str(DEMO)}


def ran(files: dict[str, str], *arguments: str) -> int:
    return main(["evaluate", *(files.get(argument, argument) for argument in arguments)])


def test_a_table_and_json_hold_the_same_numbers(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["ARTIFACT", "--text-file", "TEXT", *SIZES, "--against", "ARTIFACT"]
    assert ran(files, *asked) == 0
    header, exact, found, below = capsys.readouterr().out.splitlines()
    assert header.split()[-5:] == ["bits/byte", "KL", "divergence", "same", "ids"]
    assert ran(files, *asked, "--format", "json") == 0
    first, second = json.loads(capsys.readouterr().out)
    for line, fields in ((exact, first), (found, second)):
        assert line.split()[0] == fields["model"]
        assert f"{fields['perplexity']:.4f}" in line.split()
        assert f"{fields['bits_per_byte']:.4f}" in line.split()
    assert found.split()[-2:] == ["0.00e+00", "100.00%"]
    assert (second["kl_divergence"], second["same_ids"], second["head"]) == (0, 1, "bf16")
    assert {"kl_divergence", "same_ids"} & set(first) == set()
    predicted, of, total = below.split()[:3]
    assert (int(predicted), of, int(total)) == (first["tokens"] - 1, "of", first["tokens"])


def test_an_artifact_is_compared_with_its_checkpoint(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["ARTIFACT", "--against", "CHECKPOINT", "--text-file", "SHORT", "--format", "json"]
    assert ran(files, *asked) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["model"], first["head"], second["same_ids"]) == (str(DEMO), "torch", 1)
    assert second["kl_divergence"] == pytest.approx(0, abs=1e-9)
    assert first["perplexity"] == pytest.approx(second["perplexity"], rel=1e-6)


def test_one_window_is_the_score_of_the_model(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(files, "ARTIFACT", "--text-file", "TEXT", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    with open_model(files["ARTIFACT"]) as model:
        assert found["loss"] == pytest.approx(-model.score(TEXT).mean(), rel=1e-12)


def test_questions_are_answered_and_chosen(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    chat = "--apply-chat-template"
    choices = ["--choices-file", "CHOICES", chat]
    assert ran(files, "ARTIFACT", "CHECKPOINT", *choices) == 0
    header, *rows, below = capsys.readouterr().out.splitlines()
    assert header.split()[-4:] == ["acc", "stderr", "acc_norm", "stderr"]
    assert [row.split()[-4:] for row in rows] == [["1.0000", "0.0000"] * 2] * 2
    assert below == "4 questions"
    answers = ["--answers-file", "ANSWERS", chat, "--max-new-tokens", "32", "--batch-size", "3"]
    assert ran(files, "ARTIFACT", *answers, "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["questions"] == 4
    assert found["exact_match"] >= 0.5
    assert ran(files, "ARTIFACT", *answers, "--stop-string", "no") == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["exact_match", "stderr"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("", "nothing to measure is given, expected one of --text-file"),
        ("--text-file TEXT --tasks x", "--text-file and --tasks is given, expected one of"),
        (
            "--text-file TEXT --limit 3",
            "--limit is given with --text-file, expected it with --tasks",
        ),
        ("--tasks x --stride 3", "--stride is given with --tasks, expected it with --text-file"),
        ("--choices-file CHOICES --num-fewshot 0", "--num-fewshot is given with --choices-file"),
        ("--answers-file ANSWERS --target-delimiter x", "expected it with --choices-file"),
        ("--choices-file CHOICES --stop-string x", "--stop-string is given with --choices-file"),
        ("--text-file TEXT --apply-chat-template", "--choices-file or --answers-file or --tasks"),
        ("--text-file TEXT --revision x", "--revision is given with"),
        ("--text-file TEXT --allow-degenerate", "expected it with a checkpoint, which none"),
        ("--text-file EMPTY", "the text is empty, expected at least one character"),
        ("--text-file LATIN", "LATIN holds the byte 0xe9 at offset 3, expected utf-8 text"),
        ("--text-file no-such-file", "no-such-file cannot be read"),
        (
            "--text-file TEXT --max-length 513",
            "max_length is 513, expected 2 to the context of 512",
        ),
        ("--text-file TEXT --max-length 32 --stride 33", "stride is 33, expected 1 to max_length"),
        ("--text-file TEXT --threads -1", "threads is -1, expected 0"),
        ("--text-file TEXT --against no-such-folder", "no-such-folder does not exist"),
        ("--choices-file ANSWERS", "line 1: choices is missing, expected it beside kind, question"),
        ("--choices-file BLANK", "BLANK has no lines, expected one question a line, as JSON"),
        ("--choices-file LATIN", "LATIN holds the byte 0xe9"),
        ("--answers-file TEXT", "line 1: it is not JSON"),
        ("--answers-file CHOICES", "line 1: answer is 1, expected a text"),
        ("--answers-file ANSWERS --batch-size 0", "batch_size is 0, expected 1 or more"),
        ("--answers-file ANSWERS --max-new-tokens 0", "max_new_tokens is 0"),
        (
            "CHECKPOINT --answers-file ANSWERS",
            "is not an artifact folder, expected one to generate",
        ),
        ("CHECKPOINT --tasks x", "expected one artifact folder"),
    ],
)
def test_mistakes_are_one_sentence(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], arguments: str, what: str
) -> None:
    assert ran(files, "ARTIFACT", *arguments.split()) == 2
    out, err = capsys.readouterr()
    errors = err.splitlines()
    assert errors[0].startswith("error: ")
    assert what in errors[0]
    assert len(errors) <= 2
    assert out == ""


def test_torch_takes_the_same_threads(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    for threads in ("-1", "3", "0"):
        assert ran(files, "CHECKPOINT", "--text-file", "EMPTY", "--threads", threads) == 2
    assert "threads is -1, expected 0" in capsys.readouterr().err.splitlines()[0]
    assert asked == [3]
