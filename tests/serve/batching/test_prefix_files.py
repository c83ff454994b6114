"""Beginnings of prompts in a folder: who may read them, and several servers that have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx import load
from bitnet_onnx.generation.model import Model
from bitnet_onnx.serve.batching.scheduler import Scheduler
from tests.support.serve.scheduling import Client

IDS = [(7 * i * i + 5 * i) % 800 + 3 for i in range(60)]


@pytest.fixture(scope="module")
def models(demo_artifact: Path) -> Iterator[tuple[Model, Model]]:
    with load(demo_artifact, threads=1) as first, load(demo_artifact, threads=1) as second:
        assert isinstance(first, Model)
        assert isinstance(second, Model)
        yield first, second


def ask(scheduler: Scheduler, ids: list[int]) -> int:
    """Return how many positions of a prompt were known."""
    return Client(ids, max_new_tokens=1).submit(scheduler).wait().result.cached_tokens


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_user_of_the_server_reads_what_clients_wrote(
    models: tuple[Model, Model], tmp_path: Path
) -> None:
    folder = tmp_path / "kept" / "model"
    with Scheduler(models[0], prefix_folder=folder) as scheduler:
        ask(scheduler, IDS)
    assert list(folder.glob("*.cache"))
    assert folder.stat().st_mode & 0o077 == 0


def test_two_servers_keep_what_both_computed(models: tuple[Model, Model], tmp_path: Path) -> None:
    with Scheduler(models[0], prefix_folder=tmp_path) as scheduler:
        ask(scheduler, IDS[:10])
    first, second = (Scheduler(model, prefix_folder=tmp_path) for model in models)
    assert ask(first, IDS[:20]) == 10
    assert ask(second, IDS[30:50]) == 0
    first.close()
    second.close()
    with Scheduler(models[0], prefix_folder=tmp_path) as scheduler:
        assert ask(scheduler, [*IDS[:20], 5]) == 20
        assert ask(scheduler, [*IDS[30:50], 5]) == 20


def test_a_file_that_another_server_removes_is_passed_over(
    models: tuple[Model, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitnet_onnx.serve.batching import prefix_files

    listed = prefix_files._listed
    monkeypatch.setattr(
        prefix_files, "_listed", lambda folder: [*listed(folder), folder / f"{0:032x}.cache"]
    )
    with Scheduler(models[0], prefix_folder=tmp_path) as scheduler:
        assert ask(scheduler, IDS[:5]) == 0


def test_files_take_no_more_than_the_memory_may_have(
    models: tuple[Model, Model], tmp_path: Path
) -> None:
    """Texts that begin in one way share memory, and no file: the last ones are written."""
    with Scheduler(models[0]) as scheduler:
        ask(scheduler, IDS[:51])
    limit = scheduler.stats.prefix_bytes * 5 // 2
    with Scheduler(models[0], prefix_bytes=limit, prefix_folder=tmp_path) as scheduler:
        for last in range(8):
            ask(scheduler, [*IDS[:50], last])
    assert scheduler.stats.prefix_bytes < limit
    sizes = [path.stat().st_size for path in tmp_path.glob("*.cache")]
    assert len(sizes) == 2
    with Scheduler(models[0], prefix_bytes=limit, prefix_folder=tmp_path) as scheduler:
        found = [ask(scheduler, [*IDS[:50], last, 5]) for last in (7, 6, 5)]
    assert found == [51, 51, 50]
