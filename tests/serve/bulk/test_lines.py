"""Lines of a file of requests: each is a request, or an answer that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra server")
pytest.importorskip("prometheus_client", reason="the extra server")

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.serve.bulk import lines
from bitnet_onnx.serve.bulk.lines import line_of, scanned
from tests.support.serve.bulk import echo, read, request

WRONG = {
    b"text": "invalid_json",
    b"[1]": "invalid_json",
    b'"text"': "invalid_json",
    b"\xff\xfe": "invalid_json",
    b"[" * 100_000: "invalid_json",
    b'{"custom_id": "a", "custom_id": "b"}': "invalid_json",
    b'{"custom_id": NaN}': "invalid_json",
    b"{}": "missing_required_parameter",
    request("a", method="GET"): "invalid_method",
    request("a", url="/v1/models"): "invalid_url",
    request("a", url="/v1/completions/"): "invalid_url",
    request("a", url=[]): "invalid_url",
    request("a", custom_id=7): "invalid_value",
    request("a", custom_id=None): "invalid_value",
    request("a", body="text"): "invalid_value",
    request("a", body={"prompt": "a", "stream": True}): "invalid_value",
    request("a", params={}): "unknown_parameter",
    request("a", Body={}): "unknown_parameter",
}


@pytest.mark.parametrize(("text", "code"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_wrong_with_a_line_is_its_answer(text: bytes, code: str) -> None:
    line = line_of(12, text)
    assert line.code == code
    assert line.wrong.startswith("line 12: ")
    assert "expected" in line.wrong
    assert "the body is" not in line.wrong  # it is the line that is no object
    assert len(line.wrong) < 1200


def test_a_run_goes_on_after_wrong_lines_and_has_each_once(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    wrong = [text for text in WRONG if b'"a"' not in text]
    parts = [line.rstrip(b"\n") for line in (request("a"), *wrong, request("b"), *wrong)]
    source.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n  \n".join(parts))
    report = echo(source, target)
    assert report.done == len(read(target)) == 2 + 2 * len(wrong)
    assert report.errors == 2 * len(wrong)
    again = echo(source, target)
    assert (again.done, again.errors) == (report.done, report.errors)
    assert len({answer["id"] for answer in read(target)}) == len(read(target)) == report.done


def test_a_custom_id_that_two_lines_have_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(request("a") + b"\n" + request("b") + b"bad\n" + request("a", "other"))
    with pytest.raises(ConfigError, match=r"lines 1 and 5 of .* have the custom_id 'a'"):
        echo(source, target)
    assert target.read_bytes() == b""


def test_custom_ids_are_told_apart_by_each_character(tmp_path: Path) -> None:
    names = ["", " ", "a", "A", "a ", "é", "e\u0301", "\0", "a\0", "\ud800", "1", "😀" * 600]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"".join(map(request, names)))
    assert echo(source, target).errors == 0
    found = [answer["custom_id"] for answer in map(json.loads, target.open("rb"))]
    assert sorted(found) == sorted(names)


def test_a_line_that_is_too_long_is_left_out_and_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 200)
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(
        request("a") + request("b", "x" * 500) + request("c") + request("d", "x" * 5000)[:-1]
    )
    assert echo(source, target).errors == 2
    assert sorted(str(answer["custom_id"]) for answer in read(target)) == ["None", "None", "a", "c"]
    assert {a["error"]["code"] for a in read(target) if a["error"]} == {"line_too_long"}


def test_an_empty_file_has_no_answers(tmp_path: Path) -> None:
    for text in (b"", b"\n \n"):
        (tmp_path / "in.jsonl").write_bytes(text)
        assert len(scanned(tmp_path / "in.jsonl")) == 0
        assert echo(tmp_path / "in.jsonl", tmp_path / "out.jsonl").total == 0
