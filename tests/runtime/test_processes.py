"""What belongs to one process says so in one sentence: pickling, copying, and use after a fork."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import BitNetError, GenerationError, SessionError
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.model import Model
from bitnet_onnx.runtime.session import Session
from tests.support.text.fakes import FakeSession, make_tokenizer


@pytest.fixture
def session(pair: tuple[Path, Path]) -> Session:
    return Session(pair[1], threads=2)


def test_what_owns_a_session_cannot_be_pickled_or_copied(session: Session) -> None:
    tokenizer = make_tokenizer()
    makers: list[Callable[[object], object]] = [pickle.dumps, copy.copy, copy.deepcopy]
    for owner in (session, Model(session, tokenizer), Chat(session, tokenizer)):
        for make in makers:
            with pytest.raises(SessionError, match="cannot be pickled or copied, since") as caught:
                make(owner)
            assert caught.value.hint


def in_child(use: Callable[[], object]) -> str:
    """Return what ``use`` ends with in a forked child: an exception's text, or its own end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            use()
            answer = "ended"
        except BitNetError as error:
            answer = f"{type(error).__name__}: {error} ({error.hint})"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    with os.fdopen(reading) as file:
        return file.read()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_session_opened_before_a_fork_is_refused_in_the_child(session: Session) -> None:
    expected = "SessionError: the session was opened before this process was forked"
    ids = [5, 6, 7] * 4
    session.prefill(ids)
    lease = session.claim()
    uses: list[Callable[[], object]] = [
        lambda: session.prefill(ids),
        lambda: session.decode([5]),
        lambda: next(session.score(ids)),
        session.reset,
        session.claim,
        lambda: session.truncate(1),
        lambda: lease.decode([5]),
        lambda: Model(session, make_tokenizer()).generate(ids),
    ]
    for use in uses:
        answer = in_child(use)
        assert answer.startswith(expected)
        assert "open a Session in the child" in answer
    assert in_child(session.close) == "ended"
    assert in_child(lambda: setattr(session._steps, "runtime", None)) == "ended"
    lease.decode([5])  # the parent goes on
    assert session.lengths == (len(ids) + 1,)


EXITING = """
import os, sys
from bitnet_onnx.runtime.session import Session
session = Session(sys.argv[1], threads=2)
session.prefill([5, 6, 7])
if os.fork() == 0:
    sys.exit(0)
print(os.wait()[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_that_inherits_a_session_can_exit(pair: tuple[Path, Path]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", EXITING, str(pair[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_computes_is_refused_too(session: Session) -> None:
    answer = session._alone(lambda steps: in_child(session.reset))
    assert "before this process was forked" in answer


# --------------------------------------------------------------------------------- integers


def test_numpy_integers_are_ids_seeds_and_counts(session: Session) -> None:
    ids = [5, 6, 7]
    want = session.prefill(ids).copy()
    for row in (np.array(ids), np.array(ids, np.uint8), [np.int16(i) for i in ids]):
        session.reset(np.int64(1))  # type: ignore[arg-type]
        assert (session.prefill(row, np.int64(0)) == want).all()  # type: ignore[arg-type]
        session.truncate(np.int32(2))  # type: ignore[arg-type]
        session.decode(np.array([7]))
    for wrong in (True, np.True_, 5.0, "5", None):
        with pytest.raises(GenerationError, match=r"a token id is .*, expected an integer"):
            session.prefill([wrong])  # type: ignore[list-item]
        with pytest.raises(GenerationError, match=r"a token id is .*, expected an integer"):
            session.decode([wrong])  # type: ignore[list-item]


def test_numpy_numbers_are_options_and_can_be_written(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "max_new_tokens": np.int64(5),
        "top_k": np.int8(3),
        "seed": np.uint32(7),
        "eos_token_id": np.array([1, 2]),
        "temperature": np.float32(0.5),
        "top_p": np.float64(0.5),
        "num_beams": np.int16(1),
    }
    config = GenerationConfig(do_sample=True, **given)
    config.save(tmp_path / "generation_config.json")
    assert GenerationConfig.from_file(tmp_path) == config
    assert type(config.seed) is int
    for name in ("max_new_tokens", "top_k", "seed", "eos_token_id", "num_beams"):
        for wrong in (True, np.True_, 1.5):
            changes: dict[str, Any] = {name: wrong}
            with pytest.raises(GenerationError, match=f"{name} is .*, expected an integer"):
                GenerationConfig(**changes)


def test_eos_token_id_of_none_in_a_call_lets_no_token_end_the_answer() -> None:
    tokenizer = make_tokenizer()
    model = Model(FakeSession(), tokenizer)  # type: ignore[arg-type]
    everything = list(range(300))
    ended = model.generate([5], max_new_tokens=20, eos_token_id=everything)
    assert (len(ended.result.ids), ended.result.finish_reason) == (1, "stop")
    config = GenerationConfig(max_new_tokens=20, eos_token_id=everything)
    none: Any
    for none in (None, (), []):
        endless = model.generate([5], config, eos_token_id=none)
        assert (len(endless.result.ids), endless.result.finish_reason) == (20, "length")


def test_a_model_that_is_loaded_in_a_child_works(pair: tuple[Path, Path]) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("the system has no fork")
    assert in_child(lambda: Session(pair[1], threads=2).prefill([5, 6, 7])) == "ended"
