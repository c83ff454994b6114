"""The weights of a session lie in one mapping of their file, which may take huge pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from bitnet_onnx.artifact import WEIGHTS
from bitnet_onnx.runtime import graph, weights
from bitnet_onnx.runtime.session import Session

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")


def mappings(path: Path) -> list[bool]:
    """Say of each mapping of a file in this process whether it asks for huge pages."""
    found, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.endswith(f" {path}")
        elif ours and line.startswith("VmFlags:"):
            found.append(" hg" in line)
    return found


def test_a_session_maps_its_weights_once_while_it_lives(demo_artifact: Path) -> None:
    path = demo_artifact.resolve() / WEIGHTS
    before = len(mappings(path))  # of other tests' sessions
    session = Session(demo_artifact, threads=1)
    session.prefill([1, 2, 3])
    found = mappings(path)
    assert len(found) == before + 1
    assert found[0] or not HUGE.exists()
    session.close()
    del session
    assert len(mappings(path)) == before


def test_lent_weights_give_the_same_bits(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(demo_artifact, threads=1) as session:
        lent = session.prefill([1, 2, 3])
    monkeypatch.setattr(sys, "platform", "darwin")
    with Session(demo_artifact, threads=1) as session:
        assert np.array_equal(session.prefill([1, 2, 3]), lent)


@pytest.fixture(scope="module")
def stored(demo_artifact: Path) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return the demo's graph and its weights by name, read from the file."""
    model = (demo_artifact / "model.onnx").read_bytes()
    data = (demo_artifact / WEIGHTS).read_bytes()
    read = {}
    for table in graph.tables(model):
        if table.place is not None:
            begin, size = table.place.offset, table.place.size
            assert size is not None
            read[table.name] = np.frombuffer(data[begin : begin + size], np.uint8)
    return model, read


def test_weights_are_those_of_the_file(
    demo_artifact: Path, stored: tuple[bytes, dict[str, np.ndarray]]
) -> None:
    model, read = stored
    found = {t.name: a for t, a in weights.mapped_weights(model, demo_artifact)}
    assert found.keys() == read.keys()
    assert all(np.array_equal(a.reshape(-1).view(np.uint8), read[n]) for n, a in found.items())


@pytest.mark.parametrize("damage", ["absent", "empty", "short", "a link"])
def test_what_is_not_all_there_is_left_to_onnx_runtime(
    tmp_path: Path,
    demo_artifact: Path,
    stored: tuple[bytes, dict[str, np.ndarray]],
    damage: str,
) -> None:
    model, read = stored
    if damage == "a link":
        (tmp_path / WEIGHTS).symlink_to(demo_artifact / WEIGHTS)
    elif damage != "absent":
        data = (demo_artifact / WEIGHTS).read_bytes()
        (tmp_path / WEIGHTS).write_bytes(data[: len(data) // 2 if damage == "short" else 0])
    found = list(weights.mapped_weights(model, tmp_path))
    assert len(found) < len(read)
    assert bool(found) == (damage == "short")


@pytest.mark.parametrize(
    ("found", "changed"),
    [(WEIGHTS.encode(), b"../l.onnx_data"), (b"length", b"lenght"), (b"location", b"locatlon")],
)
def test_a_place_that_is_not_understood_is_left_to_onnx_runtime(
    demo_artifact: Path, stored: tuple[bytes, dict[str, np.ndarray]], found: bytes, changed: bytes
) -> None:
    model, read = stored
    damaged = model.replace(found, changed.ljust(len(found), b"x"))
    assert read
    assert not list(weights.mapped_weights(damaged, demo_artifact))


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
def test_a_graph_that_ends_early_is_no_error(
    demo_artifact: Path, stored: tuple[bytes, dict[str, np.ndarray]], share: float
) -> None:
    model, read = stored
    found = list(weights.mapped_weights(model[: int(len(model) * share)], demo_artifact))
    assert len(found) <= len(read)
