"""A session has one user at a time; each user gets its own numbers or an exception."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import SessionError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime import steps as steps_module
from bitnet_onnx.runtime.session import Lease, Session

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8]


@pytest.fixture
def session(pair: tuple[Path, Path]) -> Session:
    return Session(pair[1], threads=1)


class Broken:
    """An ONNX Runtime session whose runs are others."""

    def __init__(self, runtime: Any, run: Callable[[object], None]) -> None:
        self.io_binding, self.run_with_iobinding = runtime.io_binding, run


def in_thread(call: Callable[[], object]) -> object:
    """Return what a call in another thread returns or raises."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(call())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return ended[0]


def test_a_thread_that_is_not_the_user_is_refused(session: Session) -> None:
    session.prefill(IDS)
    calls: list[Callable[[], object]] = [
        lambda: session.prefill([1]),
        lambda: session.decode([1]),
        lambda: next(session.score([1])),
        lambda: session.truncate(1),
        lambda: session.reorder([0]),
        lambda: session.fork(2),
        session.take,
        lambda: session.put(kept),
    ]
    kept = session.take()
    for call in calls:
        refused = in_thread(call)
        assert isinstance(refused, SessionError)
        assert "another stream or thread has taken the session over" in str(refused)
    assert session.ids() == IDS
    in_thread(session.reset)  # takes it over
    for call in calls:
        with pytest.raises(SessionError, match="has taken the session over"):
            call()


def test_threads_with_the_same_identifier_are_two_users(session: Session) -> None:
    """``_thread`` gives the identifier of an ended thread to a new one."""
    ended: list[object] = []
    done = threading.Semaphore(0)

    def use(call: Callable[[], object]) -> None:
        try:
            call()
        except SessionError as error:
            ended.append((_thread.get_ident(), str(error)))
        else:
            ended.append((_thread.get_ident(), ""))
        done.release()

    for call in (lambda: session.prefill(IDS), lambda: session.decode([1])):
        _thread.start_new_thread(use, (call,))
        done.acquire()
        time.sleep(0.05)  # the thread has ended after that
    [first, second] = ended
    assert first[1] == ""  # type: ignore[index]
    assert "has taken the session over" in second[1]  # type: ignore[index]


def test_a_released_lease_is_refused_and_changes_no_later_user(session: Session) -> None:
    lease = session.claim()
    lease.prefill(IDS)
    lease.release()
    for step in (lambda: lease.decode([1]), lease.reset, lambda: lease.lengths, lease.ids):
        with pytest.raises(SessionError, match="the lease was released"):
            step()
    other = in_thread(session.claim)
    assert isinstance(other, Lease)
    lease.release()
    other.decode([1])
    with pytest.raises(SessionError, match="taken the session over"):
        session.decode([1])
    assert other.ids() == [*IDS, 1]


def test_a_stale_lease_says_nothing_about_the_cache(session: Session) -> None:
    lease = session.claim()
    lease.reset(2)
    session.reset(1)
    for ask in (lambda: lease.lengths, lambda: lease.batch_size, lambda: lease.ids(1)):
        with pytest.raises(SessionError, match="taken the session over"):
            ask()


@pytest.mark.parametrize("rows", [1, 3])
def test_logits_of_a_user_are_not_written_by_the_next(session: Session, rows: int) -> None:
    """The next user may compute while the user before still chooses from its logits."""
    users: list[Callable[[], Any]] = [
        lambda: session,
        session.claim,
        lambda: in_thread(session.claim),
        session.claim,
    ]
    session.reset(rows)
    seen = []
    for number, user in enumerate(users):
        logits = user().decode([number] * rows)
        seen.append((logits, logits.copy()))
    for logits, copy in seen:
        assert np.array_equal(logits, copy)


def test_a_taken_row_does_not_change_with_the_session(session: Session) -> None:
    session.prefill(IDS)
    expected = session.decode([7]).copy()
    session.truncate(len(IDS))
    kept = session.take()
    session.truncate(0)
    session.prefill([1, 2, 3, 4] * 5)  # into the same buffers
    assert kept.ids.tolist() == IDS
    session.put(kept)
    assert session.ids() == IDS
    assert np.array_equal(session.decode([7]), expected)


def test_a_prompt_of_several_chunks_counts_whole_or_not(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "CHUNK", 4)
    session.prefill(IDS[:2])
    runtime = session._steps.runtime
    for failing in range(3):
        for error in (RuntimeError("no"), KeyboardInterrupt(), MemoryError()):
            runs = iter(range(9))

            def run(
                binding: object, runs: Any = runs, failing: int = failing, error: Any = error
            ) -> None:
                if next(runs) == failing:
                    raise error
                runtime.run_with_iobinding(binding)

            monkeypatch.setattr(session._steps, "runtime", Broken(runtime, run))
            with pytest.raises((SessionError, KeyboardInterrupt)):
                session.prefill(IDS[2:])
            assert session.ids() == IDS[:2]
    monkeypatch.setattr(session._steps, "runtime", runtime)
    found = session.prefill(IDS[2:])
    session.reset()
    session.prefill(IDS[:2])
    assert np.array_equal(found, session.prefill(IDS[2:]))


def test_a_batch_that_is_taken_over_ends_in_a_session_error(session: Session) -> None:
    takes: list[Callable[[], object]] = [
        session.reset,
        lambda: session.reset(5),
        session.claim,
        lambda: session.fork(1),
        lambda: in_thread(lambda: session.reset(1)),
    ]
    config = GenerationConfig(max_new_tokens=3)
    for take in takes:
        for at in range(6):
            chosen = iter(range(9))

            def on_token(row: int, token: int, take: Any = take, at: int = at) -> None:
                if next(chosen) == at:  # noqa: B023
                    take()

            if at < 4:
                with pytest.raises(SessionError, match="has taken the session over"):
                    generate(session, [IDS, IDS[:3]], config, on_token=on_token)
            else:  # all ids were chosen before
                generate(session, [IDS, IDS[:3]], config, on_token=on_token)
