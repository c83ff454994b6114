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


@pytest.mark.parametrize("name", ["", ".", "/", "..", "nowhere/..", "link/..", "a/../..", "./"])
def test_a_name_that_is_no_name_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for new in (new_folder, files.new_file):
        with pytest.raises(ConfigError, match=r"is the current folder, one above"), new(Path(name)):
            raise AssertionError("the block must not run")
    assert list(tmp_path.iterdir()) == [tmp_path / "here"]
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("link to an empty folder", "is a link"),
        ("mount point", "is a mount point"),
        ("file", "is a file"),
        ("link to nothing", "is a link"),
        ("long name", "cannot be made: File name too long"),
        ("null character", "cannot be made: embedded null"),
        ("below a file", "cannot be made: File exists"),
    ],
)
def test_what_cannot_become_a_folder_is_one_sentence(
    tmp_path: Path, kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    if kind == "link to an empty folder":
        (tmp_path / "empty").mkdir()
        target.symlink_to(tmp_path / "empty")
    elif kind == "mount point":
        target.mkdir()
        monkeypatch.setattr(os.path, "ismount", lambda path: path == target)
    elif kind == "link to nothing":
        target.symlink_to(tmp_path / "nowhere")
    elif kind in ("file", "below a file"):
        target.write_text("kept")
    named = {"long name": "x" * 300, "null character": "a\0b", "below a file": "out/a"}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=words), new_folder(tmp_path / named.get(kind, "out")):
        raise AssertionError("the block must not run")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_stays_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"^$"):
        fail_in_the_middle(tmp_path / "out", ValueError())
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


def test_folders_above_are_removed_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(SystemExit):
        fail_in_the_middle(tmp_path / "kept" / "a" / "b" / "out", SystemExit())
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (OSError(errno.ENOSPC, "No space"), "^writing .*out failed: No space", "free some disk"),
        (OSError(errno.EDQUOT, "Quota"), "^writing .*out failed: Quota", "free some disk"),
        (OSError(errno.EIO, "I/O error"), "^making .*out failed: I/O error", "nothing was left"),
        (PermissionError(errno.EACCES, "Denied", "in.gguf"), "^in.gguf cannot be used: Denied", ""),
        (FileNotFoundError(errno.ENOENT, "None", "/a/b"), "^/a/b cannot be used: None", ""),
    ],
)
def test_an_error_of_reading_is_not_one_of_writing(
    tmp_path: Path, error: OSError, words: str, hint: str
) -> None:
    with pytest.raises(BitNetError, match=words) as caught:
        fail_in_the_middle(tmp_path / "out", error)
    assert hint in str(caught.value.hint)
    assert ("disk space" in str(caught.value.hint)) == (hint == "free some disk")
    assert list(tmp_path.iterdir()) == []


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
