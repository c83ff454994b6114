"""Models that are opened again, or closed, where something fails: none stays open behind it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from bitnet_onnx.errors import BitNetError
from bitnet_onnx.generation.model import Model, load
from bitnet_onnx.serve import models
from bitnet_onnx.serve.batching import rows
from bitnet_onnx.serve.models import Generating, Limits
from bitnet_onnx.serve.run import _reload
from bitnet_onnx.serve.state import State


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """Return the models that were opened and not closed."""
    found: list[Model] = []
    close = Model.close

    def loading(*given: Any, **options: Any) -> Any:
        model = load(*given, **options)
        assert isinstance(model, Model)
        found.append(model)
        return found[-1]

    def closing(model: Model) -> None:
        close(model)
        if model in found:
            found.remove(model)

    monkeypatch.setattr(models, "load", loading)
    monkeypatch.setattr(Model, "close", closing)
    return found


def full(*_: object) -> None:
    raise BitNetError("writing a file failed: no space", hint="free some disk space")


def test_a_former_model_that_keeps_nothing_is_closed_and_told_of(
    demo_artifact: Path, tmp_path: Path, opened: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "save_prefixes", full)
    log: list[str] = []
    limits = Limits(threads=1, rows=1, prefix_folder=tmp_path)
    state = State({"a": demo_artifact, "b": demo_artifact}, limits)
    before = list(state.models.values())
    _reload(state, log.append)
    said = "warning: the former model did not keep its prompts: writing a file failed: no space; "
    assert log == ["the artifacts were opened again", *[f"{said}free some disk space"] * 2]
    assert len(opened) == 2
    assert not set(before) & set(state.models.values())
    with pytest.raises(BitNetError, match="no space"):
        state.close(5)
    assert not opened


@pytest.mark.parametrize(
    "error", [BitNetError("a sentence"), MemoryError(), OSError(errno.EMFILE, "", "/a/folder")]
)
def test_a_reload_that_fails_leaves_nothing_open(
    demo_artifact: Path,
    opened: list[Model],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    log: list[str] = []
    state = State({"a": demo_artifact, "b": demo_artifact}, Limits(threads=1, rows=1))
    try:
        before, begin = dict(state.models), Generating.__init__

        def failing(served: Generating, name: str, *given: Any) -> None:
            begin(served, name, *given)
            if name == "b":
                served.close()
                raise error

        monkeypatch.setattr(Generating, "__init__", failing)
        _reload(state, log.append)
        shown = str(error) if isinstance(error, BitNetError) else type(error).__name__
        assert log == [f"error: the artifacts were not opened again: {shown}"]
        assert state.models == before
        assert len(opened) == 2
    finally:
        state.close(5)
    assert not opened


@pytest.mark.parametrize("why", ["context", "prefixes"])
def test_a_model_that_cannot_be_served_is_closed(
    demo_artifact: Path, tmp_path: Path, opened: list[Model], why: str
) -> None:
    limits = Limits(threads=1, context=10_000)
    if why == "prefixes":
        (tmp_path / "file").write_text("")
        limits = Limits(threads=1, prefix_folder=tmp_path / "file" / os.curdir)
    with pytest.raises(BitNetError):
        State({"a": demo_artifact}, limits)
    assert not opened
