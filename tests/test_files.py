"""Writers never leave half-written files or folders behind."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_onnx import files
from bitnet_onnx.errors import ArtifactError, BitNetError, ConfigError
from bitnet_onnx.files import new_folder, read_object, sha256, write_text
from tests.support.paths import ROOT


def test_the_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with new_folder(target) as folder:
        assert not target.exists()
        write_text(folder / "a.txt", "ä\n")
        (folder / "sub").mkdir()
        write_text(folder / "sub" / "b.txt", "")
    assert (target / "a.txt").read_bytes() == "ä\n".encode()
    assert (target / "sub" / "b.txt").exists()
    assert [p.name for p in target.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        write_text(folder / "a", "a")
    assert (tmp_path / "out" / "a").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling"])
def test_an_existing_path_is_refused_and_not_changed(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
        write_text(target / "kept", "kept")
    elif kind == "file":
        write_text(target, "kept")
    else:
        target.symlink_to(tmp_path / ("." if kind == "link" else "nowhere"))
    with pytest.raises(ConfigError, match="exists") as caught, new_folder(target):
        raise AssertionError("the block must not run")
    assert caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def fail_in_the_middle(path: Path, error: BaseException) -> None:
    with new_folder(path) as folder:
        write_text(folder / "half", "half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_error_while_writing_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail_in_the_middle(tmp_path / "out", error())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BitNetError) as caught:
        fail_in_the_middle(tmp_path / "out", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "No space left on device" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(ConfigError, match="cannot be made"), new_folder(tmp_path / "file" / "out"):
        raise AssertionError("the block must not run")


KILLED = """
import os, sys
from pathlib import Path
from bitnet_onnx.files import new_file, new_folder
with new_folder(Path(sys.argv[1])) as folder, new_file(Path(sys.argv[2])) as file:
    (folder / "half").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_next_writer_removes_what_a_killed_writer_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED", 0.0)
    names = [str(tmp_path / "killed"), str(tmp_path / "other.gguf")]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *names], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        write_text(tmp_path / ".mine.partial", "not a name that a writer makes")
        with new_folder(tmp_path / "first"):
            pass
        assert len(list(tmp_path.glob(".killed.*.partial"))) == 1  # its writer is alive
        assert len(list(tmp_path.glob(".other.gguf.*.partial"))) == 1
        writer.kill()
    with new_folder(tmp_path / "second"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.partial", "first", "second"]


def test_sha256_reads_more_than_one_chunk(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


UNREADABLE = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "not utf-8": b'{"a": "\xff"}',
    "deep": b"[" * 100_000,
    "long number": b'{"a": 1' + b"0" * 5000 + b"}",
    "list": b"[]",
    "null": b"null",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_file_without_a_json_object_raises_the_callers_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(UNREADABLE[kind])
    with pytest.raises(ArtifactError, match=r"x\.json (cannot be read as|holds a) JSON") as caught:
        read_object(path, ArtifactError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_missing_object_gets_the_callers_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.json does not exist") as caught:
        read_object(tmp_path / "x.json", ConfigError, hint="copy it")
    assert caught.value.hint == "copy it"
