"""The weights of a session are mapped so that the kernel may take huge pages for them."""

from __future__ import annotations

import mmap
import re
import sys
from pathlib import Path

import pytest

from bitnet_onnx.runtime import pages
from bitnet_onnx.runtime.session import Session

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def flags(folder: Path) -> list[bool]:
    """Say of each mapping of a file of the folder whether it asks for huge pages."""
    found, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            ours = f" {folder}/" in line
        elif ours and line.startswith("VmFlags:"):
            found.append(" hg" in line)
    return found


@linux
@pytest.mark.skipif(not HUGE.exists(), reason="the kernel has no huge pages")
def test_the_weights_of_a_session_ask_for_huge_pages(demo_artifact: Path) -> None:
    with Session(demo_artifact, threads=1) as session:
        session.prefill([1, 2, 3])
        asked = flags(demo_artifact.resolve())
    assert asked
    assert all(asked)


@linux
@pytest.mark.parametrize("name", ["a", "with blanks in it", "\u00e4"])
def test_only_files_of_the_folder_are_found(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path / name, tmp_path / f"{name}2"):
        folder.mkdir()
        (folder / "data").write_bytes(bytes(1 << 16))
    with (
        (tmp_path / name / "data").open("rb") as one,
        (tmp_path / f"{name}2" / "data").open("rb") as other,
        mmap.mmap(one.fileno(), 0, access=mmap.ACCESS_READ),
        mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ),
    ):
        pages.ask_for_huge_pages(tmp_path / name)
        if HUGE.exists():
            assert flags(tmp_path / name) == [True]
            assert flags(tmp_path / f"{name}2") == [False]


@pytest.mark.parametrize("maps", ["missing", "damaged"])
def test_what_cannot_be_read_is_no_error(
    tmp_path: Path, maps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "damaged").write_bytes(b"\xff\n\n1-2 3\nx-y r 0 0 0 " + bytes(tmp_path) + b"/a\n")
    monkeypatch.setattr(pages, "MAPS", tmp_path / maps)
    pages.ask_for_huge_pages(tmp_path)
