"""Ids, rows and counts are integers of any kind; a bool, a float and a text are refused by name."""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.model import Model
from bitnet_onnx.runtime.session import Session
from tests.support.text.fakes import make_tokenizer

NOT_INTEGERS = [2.0, 1.5, True, False, np.True_, np.float32(1), "1", b"1", None, [1], 1j]


@pytest.fixture(scope="module")
def session(demo_artifact: Path) -> Session:
    return Session(demo_artifact, threads=1)


@pytest.fixture(autouse=True)
def two_rows(session: Session) -> None:
    session.reset(2)
    session.prefill([5, 6, 7], 0)
    session.prefill([8, 9], 1)


ONE: dict[str, Callable[[Session, Any], object]] = {
    "length": lambda s, value: s.truncate(value),
    "row": lambda s, value: s.truncate(0, value),
    "row of prefill": lambda s, value: s.prefill([1], value),
    "row of score": lambda s, value: list(s.score([1], value)),
    "row of take": lambda s, value: s.take(value),
    "row of put": lambda s, value: s.put(s.take(), value),
    "row of ids": lambda s, value: s.ids(value),
    "row of fork": lambda s, value: s.fork(2, value),
    "row of reorder": lambda s, value: s.reorder([0, value]),
    "count": lambda s, value: s.fork(value),
    "batch_size": lambda s, value: s.reset(value),
    "token id": lambda s, value: s.prefill([1, value]),
    "token id of decode": lambda s, value: s.decode([1, value]),
    "token id of score": lambda s, value: list(s.score([1, value])),
}


@pytest.mark.parametrize("name", ONE)
def test_what_is_not_an_integer_is_refused(session: Session, name: str) -> None:
    before = session.ids(), session.ids(1)
    for wrong in NOT_INTEGERS:
        with pytest.raises(GenerationError, match=r"is .*, expected an integer") as caught:
            ONE[name](session, wrong)
        assert repr(wrong) in str(caught.value)
        assert name.split(" of ")[0] in str(caught.value)
        assert (session.ids(), session.ids(1)) == before


@pytest.mark.parametrize("name", ONE)
def test_integers_of_numpy_are_taken(session: Session, name: str) -> None:
    for kind in (np.int8, np.uint64, np.int64, np.array):
        ONE[name](session, kind(1))
        session.reset(2)
        session.prefill([5, 6, 7], 0)


SEVERAL: dict[str, Callable[[Session, Any], object]] = {
    "prefill": lambda s, values: s.prefill(values),
    "decode": lambda s, values: s.decode(values),
    "score": lambda s, values: list(s.score(values)),
    "reorder": lambda s, values: s.reorder(values),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_what_is_not_a_sequence_of_integers_is_refused(session: Session, name: str) -> None:
    before = session.ids(), session.ids(1)
    for wrong in (
        "01", b"01", bytearray(b"01"), {0: 1, 1: 1}, {0, 1}, frozenset([0, 1]), None, 1,
        iter([0, 1]), np.array(1), np.array([[0, 1]]), np.array([0.0, 1.0]), [0, -1], [0, 10**30],
        np.array([True, False]), np.array(["0", "1"]), [[0], [1]], [],
    ):  # fmt: skip
        with pytest.raises(GenerationError, match="expected"):
            SEVERAL[name](session, wrong)
        assert (session.ids(), session.ids(1)) == before


@pytest.mark.parametrize("name", SEVERAL)
def test_sequences_of_integers_of_any_kind_are_taken(session: Session, name: str) -> None:
    for given in (
        [0, 1], (0, 1), range(2), np.array([0, 1]), np.array([0, 1], np.uint8), [np.int16(0), 1],
        np.array([0, 1], np.uint64), array.array("i", [0, 1]), np.arange(4)[::2] // 2,
    ):  # fmt: skip
        SEVERAL[name](session, given)
        session.reset(2)


def test_score_checks_every_id_the_last_one_too(session: Session) -> None:
    model = Model(session, make_tokenizer())
    assert model.score([]).shape == model.score([5]).shape == (0,)
    wrong: Any
    for wrong in (
        [5, -1],
        [5, 832],
        [832],
        [5, 4.9],
        [5, True],
        [5, "a"],
        np.array([5, -1]),
        b"ab",
    ):
        for ids in (wrong, wrong[::-1]):
            with pytest.raises(GenerationError, match="expected"):
                model.score(ids)


@pytest.mark.parametrize("threads", [-1, 1025, 10**6, 2**40, 2.5, "2", None, True, np.True_])
def test_a_wrong_number_of_threads_is_refused(demo_artifact: Path, threads: Any) -> None:
    with pytest.raises(GenerationError, match=r"threads is .*, expected"):
        Session(demo_artifact, threads=threads)
