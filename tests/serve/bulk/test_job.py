"""Runs over a file: each line is answered once, whatever ends them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra server")
pytest.importorskip("prometheus_client", reason="the extra server")

from bitnet_onnx.errors import BitNetError, ConfigError, SessionError
from bitnet_onnx.serve.bulk import lines
from bitnet_onnx.serve.bulk.output import Output
from tests.support.paths import ROOT
from tests.support.serve.bulk import Echo, asked, echo, read, request


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3000), tmp_path / "out.jsonl"
    order = random.Random(7)
    command = [sys.executable, "-m", "tests.support.serve.bulk", str(source), str(target)]
    former, kills = 0, 0
    while kills < 5:
        child = subprocess.Popen(command, cwd=ROOT)
        while child.poll() is None and (not target.exists() or target.stat().st_size <= former):
            time.sleep(0.005)
        time.sleep(order.uniform(0, 0.05))
        child.kill()
        child.wait()
        kills += 1
        assert target.stat().st_size > former, "a run answers something, and takes nothing away"
        with target.open("ab") as file:  # what a write that was cut off leaves
            file.write((b"", b'{"id": "batch_', b"\0" * 50)[kills % 3])
        former = target.stat().st_size
    report = echo(source, target)
    names = [answer["custom_id"] for answer in read(target)]
    assert sorted(names) == sorted(f"r{i}" for i in range(3000))
    assert (report.done, report.total, report.errors) == (3000, 3000, 0)
    assert 0 < Echo.asked < 3000


@pytest.mark.parametrize("kept", [0, 40, 200])
@pytest.mark.parametrize("rest", [b"", b"{", b"\0\0\0\n", b'{"id":"batch_req_00'])
def test_half_a_line_is_cut_off_and_answered_again(tmp_path: Path, kept: int, rest: bytes) -> None:
    source, target = asked(tmp_path / "in.jsonl", 200), tmp_path / "out.jsonl"
    echo(source, target)
    whole = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(whole[:kept]) + rest)
    echo(source, target)
    assert target.read_bytes().startswith(b"".join(whole[:kept]))
    assert sorted(target.read_bytes().splitlines(keepends=True)) == sorted(whole)


def test_an_input_may_have_further_lines(tmp_path: Path) -> None:
    source, target = asked(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    echo(source, target)
    first = target.read_bytes()
    with source.open("ab") as file:
        file.write(request("later"))
    echo(source, target)
    assert target.read_bytes().startswith(first)
    assert read(target)[-1]["custom_id"] == "later"
    echo(source, target)
    assert len(read(target)) == 21


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_further_lines_may_come_after_a_last_one_without_its_end(
    tmp_path: Path, end: bytes
) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    source.write_bytes(source.read_bytes()[:-1])
    echo(source, target)
    with source.open("ab") as file:
        file.write(end + request("later"))
    echo(source, target)
    assert [answer["custom_id"] for answer in read(target)][3:] == ["later"]


@pytest.mark.parametrize("more", [b"x", b" \n", b"}\n", request("a")])
def test_a_last_line_that_goes_on_is_noticed(tmp_path: Path, more: bytes) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    source.write_bytes(source.read_bytes()[:-1])
    echo(source, target)
    source.write_bytes(source.read_bytes() + more)
    with pytest.raises(ConfigError, match="is not what it was when"):
        echo(source, target)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"a"', b'"b"', 1),
        lambda text: text[len(request("r0", "")) :],
        lambda text: request("before") + text,
        lambda text: text[:-1] + b" \n" + request("later"),
        lambda text: text[:-1],
        lambda text: b"",
    ],
)
def test_an_input_that_changed_is_noticed(tmp_path: Path, change: object) -> None:
    source, target = asked(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    echo(source, target)
    before = target.read_bytes()
    source.write_bytes(change(source.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ConfigError, match="is not what it was when") as refused:
        echo(source, target)
    assert "another output" in str(refused.value.hint)
    assert target.read_bytes() == before


def test_another_artifact_is_noticed(tmp_path: Path) -> None:
    class Other(Echo):
        fingerprint = "other"

    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    echo(source, target)
    with pytest.raises(ConfigError, match="the artifact is not what it was"):
        echo(source, target, Other)


def test_a_file_that_no_run_made_is_not_touched(tmp_path: Path) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "notes.txt"
    target.write_text("mine")
    with pytest.raises(ConfigError, match="no run of this command made it"):
        echo(source, target)
    assert target.read_text() == "mine"
    with pytest.raises(ConfigError, match="the output is the input"):
        echo(source, source)
    with pytest.raises(ConfigError, match="is not a file"):
        echo(tmp_path / "none.jsonl", target)
    with pytest.raises(ConfigError, match="cannot be used"):
        echo(source, tmp_path)


@pytest.mark.parametrize(
    "changed", [{"size": "x"}, {"size": True}, {"sha256": []}, {"artifact": None}, {"more": 1}]
)
def test_a_note_that_no_run_made_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    echo(source, target)
    note = tmp_path / "out.jsonl.run"
    note.write_text(json.dumps(json.loads(note.read_text()) | changed))
    with pytest.raises(ConfigError, match="is not of this version of the command"):
        echo(source, target)


@pytest.mark.parametrize(
    "line", [b"{}\n", b"3\n", b"text\n", b'{"id": "batch_req_12", "response": null}\n']
)
def test_foreign_lines_of_an_output_are_refused(tmp_path: Path, line: bytes) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    echo(source, target)
    text = target.read_bytes()
    target.write_bytes(text + line + text)
    with pytest.raises(ConfigError, match=r"line 4 of .+ is not an answer"):
        echo(source, target)
    target.write_bytes(text + text)
    with pytest.raises(ConfigError, match="has answers twice"):
        echo(source, target)


def test_two_runs_do_not_write_one_output(tmp_path: Path) -> None:
    source, target = asked(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with Output(target), pytest.raises(ConfigError, match="another run writes"):
        echo(source, target)
    assert echo(source, target).done == 3


def test_a_model_that_fails_always_ends_the_run(tmp_path: Path) -> None:
    class Broken(Echo):
        status = 500

    source, target = asked(tmp_path / "in.jsonl", 100), tmp_path / "out.jsonl"
    with pytest.raises(SessionError, match="16 answers in a row failed"):
        echo(source, target, Broken)
    assert len(read(target)) == 16


def test_an_input_that_changes_meanwhile_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(Echo):
        def __init__(self, *ignored: object) -> None:
            asked(source, 30)

    monkeypatch.setattr(lines, "WINDOW", 10)
    source, target = asked(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    with pytest.raises(BitNetError, match="changed at line 30"):
        echo(source, target, Changing)
    assert 20 <= len(read(target)) <= 30, "those of whole windows, and what was not in work"


def test_lines_of_one_window_go_from_long_to_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class One(Echo):
        lines = 1

    monkeypatch.setattr(lines, "WINDOW", 10)
    source, target = asked(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    echo(source, target, One)
    found = [len(answer["response"]["body"]["text"]) for answer in read(target)]
    assert found == [*range(9, -1, -1), *range(19, 9, -1)]


def test_the_note_beside_an_output_is_of_a_known_version(tmp_path: Path) -> None:
    source, target = asked(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    echo(source, target)
    note = tmp_path / "out.jsonl.run"
    good = json.loads(note.read_text())
    for bad in ({**good, "version": 2}, {**good, "more": 1}, {}):
        note.write_text(json.dumps(bad))
        with pytest.raises(ConfigError, match="is not of this version"):
            echo(source, target)
