"""A KeyboardInterrupt at any place of a call leaves a session as before the call or as after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import SessionError
from bitnet_onnx.runtime import steps as steps_module
from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.cache.growing import Cache, CachedRow
from bitnet_onnx.runtime.cache.layout import CacheLayout
from bitnet_onnx.runtime.cache.moves import copy_row
from bitnet_onnx.runtime.session import Session
from tests.support.sessions import interrupted

LAYOUT = CacheLayout(1, 1, 2, "int8", context_length=40, model="a")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "BLOCK", 4)


# ----------------------------------------------------------------------------------- the cache


def filled() -> Cache:
    cache = Cache(LAYOUT, 3)
    cache.reserve(7)
    for number, buffer in enumerate(cache.buffers.values()):
        buffer[...] = np.arange(buffer.size).reshape(buffer.shape) + number
    for row, length in enumerate((3, 0, 7)):
        cache.extend({row: np.arange(length) + 10 * row})
    return cache


def contents(cache: Cache) -> list[Any]:
    return [
        [cache.ids(row), *(b[row, :, :length].tolist() for b in cache.buffers.values())]
        for row, length in enumerate(cache.lengths)
    ]


LONG = CachedRow(
    LAYOUT, np.arange(11), {name: LAYOUT.zeros(name, 1, 11)[0] + 1 for name in LAYOUT.names}
)
CHANGES: dict[str, Callable[[Cache], object]] = {
    "reserve": lambda cache: cache.reserve(9),
    "extend": lambda cache: cache.extend({0: np.array([5])}),
    "extend two": lambda cache: cache.extend({2: np.array([5]), 0: np.array([6, 7])}),
    "append": lambda cache: cache.append(np.array([5, 6, 7])),
    "append to some": lambda cache: cache.append(np.array([5, 6]), range(1, 3)),
    "widen": lambda cache: cache.widen(),
    "copy": lambda cache: copy_row(cache, 2, 0, 2),
    "truncate": lambda cache: cache.truncate(1, 2),
    "reorder": lambda cache: cache.reorder([2, 2, 0, 1]),
    "fork": lambda cache: cache.fork(2, 2),
    "put": lambda cache: cache.put(cache.take(2), 0),
    "put shorter": lambda cache: cache.put(cache.take(0), 2),
    "put growing": lambda cache: cache.put(LONG, 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_cache_is_whole_or_absent(name: str) -> None:
    change = CHANGES[name]
    whole = filled()
    before = contents(whole)
    capacity = whole.capacity
    change(whole)
    after, seen = contents(whole), set()
    for place in count():
        cache = filled()
        cut = interrupted(lambda cache=cache: change(cache), place)  # type: ignore[misc]
        found = contents(cache)
        assert found in (before, after), place
        seen.add(found == after)
        # The cache is used on: it grows, and holds what it held.
        cache.reserve(capacity)
        sizes = {buffer.shape[2] for buffer in cache.buffers.values()}
        assert len(sizes) == 1
        cache.reserve(20)
        assert contents(cache) == found
        if not cut:
            break
    assert place > 30
    assert seen == ({False, True} if before != after else {True})


@pytest.mark.parametrize("failing", range(5))
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_growth_that_fails_can_be_repeated_or_left(
    monkeypatch: pytest.MonkeyPatch, failing: int, error: type[BaseException]
) -> None:
    """Half-way, one layer is larger than the next: a step needs them to be equal."""
    zeros = CacheLayout.zeros
    for needed, capacity in ((7, 8), (8, 8), (9, 12), (20, 20)):
        cache = filled()
        before, made = contents(cache), count()

        def fails(*given: Any, made: Any = made) -> np.ndarray:
            if next(made) == failing:
                raise error
            return zeros(*given)

        with monkeypatch.context() as patched:
            patched.setattr(CacheLayout, "zeros", fails)
            try:
                cache.reserve(9)
            except error:
                assert cache.capacity == 8
        assert contents(cache) == before
        cache.reserve(needed)
        sizes = {buffer.shape[2] for buffer in cache.buffers.values()}
        assert sizes == {12 if failing == 4 and capacity == 8 else capacity}
        assert contents(cache) == before


# --------------------------------------------------------------------------------- the session

IDS = [17, 3, 88, 40, 5, 61]


class Steps:
    """What the calls below compute, and the right logits for any ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alone = Session(folder, threads=1)
        self.known: dict[tuple[int, ...], bytes] = {}

    def right(self, ids: list[int]) -> bytes:
        if tuple(ids) not in self.known:
            self.alone.reset()
            for token in ids:
                logits = self.alone.decode([token])[0]
            self.known[tuple(ids)] = logits.tobytes()
        return self.known[tuple(ids)]

    def begin(self, session: Session) -> None:
        session.reset(2)
        for row, ids in enumerate((IDS[:2], IDS[:4])):
            for token in ids:
                session.prefill([token], row)


CALLS: dict[str, tuple[Callable[[Session], object], list[list[int]]]] = {
    "reset": (lambda s: s.reset(1), [[]]),
    "prefill": (lambda s: s.prefill([9, 8, 7], 0), [[*IDS[:2], 9, 8, 7], IDS[:4]]),
    "prefill_rows": (
        lambda s: s.prefill_rows([[9, 8, 7], [6, 5]]),
        [[*IDS[:2], 9, 8, 7], [*IDS[:4], 6, 5]],
    ),
    "decode": (lambda s: s.decode([9, 8]), [[*IDS[:2], 9], [*IDS[:4], 8]]),
    "truncate": (lambda s: s.truncate(1, 1), [IDS[:2], IDS[:1]]),
    "reorder": (lambda s: s.reorder([1, 0, 1]), [IDS[:4], IDS[:2], IDS[:4]]),
    "fork": (lambda s: s.fork(3), [IDS[:2]] * 3),
    "put": (lambda s: s.put(s.take(1), 0), [IDS[:4]] * 2),
    "claim": (lambda s: s.claim().release(), [IDS[:2], IDS[:4]]),
    "score": (lambda s: list(s.score([9, 8])), [[*IDS[:2], 9, 8], IDS[:4]]),
}


@pytest.fixture(scope="module")
def steps(demo_artifact: Path) -> Steps:
    return Steps(demo_artifact)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_a_session_is_whole_or_absent(
    monkeypatch: pytest.MonkeyPatch, steps: Steps, name: str
) -> None:
    monkeypatch.setattr(steps_module, "CHUNK", 1)
    monkeypatch.setattr("bitnet_onnx.runtime.session.CHUNK", 1)
    call, after = CALLS[name]
    allowed = [[IDS[:2], IDS[:4]], after]
    if name == "score":  # its chunks count one by one
        allowed.append([[*IDS[:2], 9], IDS[:4]])
    session = Session(steps.folder, threads=1)
    for place in count():
        steps.begin(session)
        cut = interrupted(lambda: call(session), place, "line")
        held = [session.ids(row) for row in range(session.batch_size)]
        assert held in allowed, place
        # The same thread goes on, without a reset.
        found = session.decode([11] * len(held))
        for row, ids in enumerate(held):
            assert found[row].tobytes() == steps.right([*ids, 11]), (place, row)
        if not cut:
            break
    assert place > 8


@pytest.mark.parametrize("take", ["reset", "claim"])
def test_a_takeover_that_is_interrupted_leaves_the_user_before_right_or_refused(
    steps: Steps, take: str
) -> None:
    session = Session(steps.folder, threads=1)
    outcomes = set()
    for place in count():
        lease = session.claim()
        lease.reset(1)
        for token in IDS:
            logits = lease.decode([token])[0]
        given = logits.copy()
        cut = interrupted(getattr(session, take), place, "line")
        try:
            found = lease.decode([4])[0]
        except SessionError:
            session.decode([9])  # the next user does not write into what the user before reads
            assert logits.tobytes() == given.tobytes()
            outcomes.add("refused")
        else:
            assert found.tobytes() == steps.right([*IDS, 4])
            outcomes.add("right")
        if not cut:
            break
    assert outcomes == {"refused", "right"}


def test_a_call_that_an_interrupt_cut_off_locks_nobody_out(steps: Steps) -> None:
    """Also where the interrupt hits the last bytecodes of the call, after its result is known."""
    session = Session(steps.folder, threads=1)
    session.prefill(IDS)
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            session.reset()
        except BaseException as error:
            errors.append(error)

    left = 0
    for place in count():
        cut = interrupted(lambda: session.truncate(0), place)
        left += len(session._calls._calls)
        session.reset()  # by the same thread, and then by any
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        session.reset()
        if not cut:
            break
    assert errors == []
    assert left > 0  # some of the interrupts did cut the end of the call off


def test_a_second_call_within_a_call_is_refused(steps: Steps) -> None:
    """As of a signal handler: it would replace the buffers of the step."""
    session = Session(steps.folder, threads=1)
    for call in (session.reset, session.claim, session.close, lambda: session.decode([5])):
        with pytest.raises(SessionError, match="the session is computing"):
            session._alone(lambda steps, call=call: call())  # type: ignore[misc]
    session.decode([5])
