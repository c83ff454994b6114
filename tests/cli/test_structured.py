"""``generate`` and ``chat`` with a form: a document, a text of an expression, one of several."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from bitnet_onnx.cli.main import main

pytest.importorskip("llguidance")

SCHEMA = """{"type": "object", "required": ["word", "count"], "additionalProperties": false,
 "properties": {"word": {"type": "string", "maxLength": 8}, "count": {"enum": [1, 2, 3]}}}"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["generate", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_each_form_is_followed(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "form.lark"
    schema.write_text("\ufeff" + SCHEMA, encoding="utf-8")
    grammar.write_text('start: WORD ("-" WORD)~1..2\nWORD: /[a-z]{2,4}/\n', encoding="utf-8")
    code, out, _ = run(capsys, demo_artifact, "Spell STONE.", "--json-schema", schema)
    assert code == 0
    assert json.loads(out)["count"] in (1, 2, 3)
    _, out, _ = run(capsys, demo_artifact, "Spell STONE.", "--regex", "[A-Z]{2}[0-9]{3}")
    assert re.fullmatch("[A-Z]{2}[0-9]{3}\n", out)
    _, out, _ = run(capsys, demo_artifact, "Spell STONE.", "--grammar", grammar)
    assert re.fullmatch("[a-z]{2,4}(-[a-z]{2,4}){1,2}\n", out)
    choices = ["--choices", "yes", "no", "it depends"]
    _, out, _ = run(capsys, demo_artifact, "Spell STONE.", *choices)
    assert out in ("yes\n", "no\n", "it depends\n")


def chat(
    capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, *arguments: str | Path
) -> tuple[int, str, str]:
    patch.setattr(sys, "stdin", io.StringIO("Spell STONE.\nWhat is 27 + 5?\n"))
    code = main(["chat", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_each_answer_of_a_chat_follows_the_form(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    schema, grammar = tmp_path / "schema.json", tmp_path / "form.lark"
    schema.write_text(SCHEMA, encoding="utf-8")
    grammar.write_text('start: "<" /[a-z]{3}/ ">"\n', encoding="utf-8")
    for options, pattern in (
        (["--json-schema", schema], r'\{.*"count".*\}'),
        (["--regex", "[A-Z]{2}[0-9]{3}", "--do-sample", "--seed", "2"], "[A-Z]{2}[0-9]{3}"),
        (["--grammar", grammar], "<[a-z]{3}>"),
        (["--choices", "yes", "no", "--prompt-lookup-num-tokens", "0"], "yes|no"),
    ):
        code, out, err = chat(capsys, monkeypatch, demo_artifact, *options)
        assert code == 0
        answers = out.splitlines()
        assert len(answers) == 2
        assert all(re.fullmatch(pattern, answer) for answer in answers), answers
        assert "incomplete" not in err
    cut = ["--regex", "[a-z]{40}", "--max-new-tokens", "2"]
    assert "may be incomplete" in chat(capsys, monkeypatch, demo_artifact, *cut)[2]
    for options in (["--regex", "a(b"], ["--json-schema", grammar], ["--regex", "a", *cut[:1]]):
        code, out, err = chat(capsys, monkeypatch, demo_artifact, *options)
        assert (code, out) == (2, "")  # before the first message
        assert "error: " in err


def test_every_prompt_of_a_file_follows_the_form(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo and three\nfour\n", encoding="utf-8")
    arguments = ["--regex", "[0-9]{2}!", "--do-sample", "--seed", "1", "--format", "json"]
    _, out, _ = run(capsys, demo_artifact, "--prompts-file", prompts, *arguments)
    found = [json.loads(line) for line in out.splitlines()]
    assert len(found) == 3
    assert all(re.fullmatch("[0-9]{2}!", each["text"]) for each in found)


def test_an_answer_that_is_cut_off_says_so(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, demo_artifact, "a", "--regex", "[a-z]{40}", "--max-new-tokens", "2")
    assert code == 0
    assert "may be incomplete" in err


@pytest.mark.parametrize(
    ("content", "arguments", "reason"),
    [
        (b'{"not": {}}', ["--json-schema"], "llguidance does not support not"),
        (b'{"a":', ["--json-schema"], "the JSON schema is not JSON"),
        (b"[]", ["--json-schema"], "the JSON schema is []"),
        (b"\xff\xfe", ["--json-schema"], "holds the byte 0xff"),
        (b'start: "a" foo', ["--grammar"], "line 1, column 8: unknown name"),
        (b"", ["--regex", "a(b"], "unclosed group at character 2"),
        (b"", ["--regex", "a", "--choices", "b"], "--regex and --choices are given"),
        (b"", ["--regex", "a", "--no-such"], "unrecognized arguments"),
    ],
)
def test_a_wrong_form_is_one_sentence(
    content: bytes, arguments: list[str], reason: str, demo_artifact: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "form"
    path.write_bytes(content)
    given = [*arguments, path] if len(arguments) == 1 else arguments
    code, out, err = run(capsys, demo_artifact, "a", *given)
    assert (code, out) == (2, "")
    assert reason in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in err


def test_a_file_that_is_missing_is_named(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--json-schema", "--grammar"):
        code, _, err = run(capsys, demo_artifact, "a", option, tmp_path / "none")
        assert code == 2
        assert str(tmp_path / "none") in err
