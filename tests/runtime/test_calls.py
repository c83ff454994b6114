"""A plan computes each id once, in order, in as few calls as the rows alone at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.runtime.calls import Call, calls_for

ROWS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 20)), min_size=1, max_size=9)


@given(ROWS, st.integers(1, 50), st.booleans())
def test_each_id_is_computed_once(rows: list[tuple[int, int]], most: int, shared: bool) -> None:
    counts = [count for count, _ in rows]
    rooms = [count + free for count, free in rows]
    calls = calls_for(counts, rooms, most, shared)
    left, computed = list(counts), list(counts)
    for call in calls:
        assert 0 < (call.end - call.first) * call.width <= most
        for row in range(call.first, call.end):
            # A row goes on where it was, is padded within its room, and not in its last call.
            assert min(call.begin, counts[row]) == left[row] > call.last
            assert counts[row] - left[row] + call.width <= rooms[row]
            assert call.last > 0 or call.begin <= counts[row]
            left[row], computed[row] = call.last, computed[row] - (left[row] - call.last)
    assert left == computed == [0] * len(counts)
    if not shared:
        assert len(calls) == sum(-(-count // most) for count in counts)


def plan(counts: list[int], shared: bool = True, room: int = 4096) -> list[Call]:
    return calls_for(counts, [room] * len(counts), 256, shared)


def test_short_prompts_share_calls() -> None:
    assert plan([5, 5, 5, 5]) == [Call(0, 4, 5, 0)]
    assert plan([20, 20, 9, 9]) == [Call(0, 2, 20, 9), Call(0, 4, 9, 0)]
    assert plan([9, 20, 20, 9]) == [Call(1, 3, 20, 9), Call(0, 4, 9, 0)]
    assert plan([100, 100, 100]) == [Call(0, 2, 100, 0), Call(2, 3, 100, 0)]


def test_a_little_padding_saves_calls() -> None:
    lengths = [25, 24, 23, 22, 21, 20, 19, 18]
    assert plan(lengths) == [Call(0, 7, 25, 18), Call(0, 8, 18, 0)]
    few = [12, 11, 3, 2]
    assert plan(few) == [Call(0, 3, 12, 2), Call(0, 4, 2, 0)]
    # The row of 3 ids has no room for the padding of a longer call.
    assert calls_for(few, few, 256, True) == [Call(0, 2, 12, 3), Call(0, 3, 3, 2), Call(0, 4, 2, 0)]


def test_what_gains_nothing_is_computed_alone() -> None:
    alone = [Call(0, 1, 300, 44), Call(0, 1, 44, 0), Call(1, 2, 129, 0)]
    assert plan([300, 129]) == plan([300, 129], shared=False) == alone
    scattered = [120, 20, 110, 40, 100, 60]  # the rows of each level are not neighbours
    assert plan(scattered) == plan(scattered, shared=False)


def test_a_long_prompt_does_not_keep_short_ones_apart() -> None:
    calls = plan([300, 4, 4])
    assert calls == [Call(0, 1, 300, 44), Call(0, 1, 44, 0), Call(1, 3, 4, 0)]
