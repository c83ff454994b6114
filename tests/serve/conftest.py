"""A model and a scheduler of its requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx import load
from bitnet_onnx.generation.model import Model
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.serve.batching.scheduler import Scheduler
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.serve.scheduling import Clock


@pytest.fixture(scope="module")
def model(demo_artifact: Path) -> Model:
    found = load(demo_artifact, threads=1)
    assert isinstance(found, Model)
    return found


@pytest.fixture(scope="module")
def inexact(demo_artifact: Path) -> Model:
    """Return a model whose numbers depend on how many positions a call has."""
    session = Session(demo_artifact, threads=1, custom_ops=False)
    assert not session.exact_in_groups
    return Model(session, Tokenizer.from_folder(demo_artifact))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(model: Model, clock: Clock) -> Iterator[Scheduler]:
    with_rows = Scheduler(model, rows=3, clock=clock)
    yield with_rows
    with_rows.close(drain=False)
