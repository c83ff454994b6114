"""The parts of prompts follow what parts and steps take."""

from __future__ import annotations

import pytest

from bitnet_onnx.serve.pace import FIRST, SHARE, Pace


@pytest.mark.parametrize("fixed", [4, 16])
@pytest.mark.parametrize("running", [1, 8])
@pytest.mark.parametrize("slower", [0.5, 1, 2])
def test_parts_take_their_share_of_a_step(fixed: float, running: int, slower: float) -> None:
    """Steps and parts have a fixed cost; a long past makes a position of a prompt dearer."""
    pace, step = Pace(128), fixed + running
    sizes = []
    for _ in range(20):
        pace.stepped(running, step)
        sizes.append(pace.positions(running))
        pace.computed(sizes[-1], fixed + slower * sizes[-1])
    assert sizes[0] == FIRST
    exact = (SHARE * step - fixed) / slower
    assert abs(sizes[-1] - exact) <= 2
    if exact > FIRST:  # it never overshoots on its way
        assert max(sizes) <= exact + 1


def test_without_answers_parts_are_as_long_as_they_may_be() -> None:
    assert Pace(100).positions(0) == 100
    assert Pace(3).positions(5) == 3


def test_fewer_rows_make_faster_steps_and_smaller_parts() -> None:
    pace = Pace(128)
    pace.stepped(1, 1.0)
    pace.stepped(8, 4.0)
    for _ in range(9):
        pace.computed(pace.positions(8), 1 + 0.1 * pace.positions(8))
    assert pace.positions(8) > 2 * pace.positions(1)


def test_the_end_of_a_prompt_and_a_clock_that_stands_say_nothing() -> None:
    pace = Pace(128)
    pace.stepped(2, 1.0)
    size = pace.positions(2)
    pace.computed(size - 1, 50.0)
    assert pace.positions(2) == size
    pace.computed(size, 0.0)
    assert pace.positions(2) == size


def test_one_slow_part_does_not_stop_a_prompt() -> None:
    pace = Pace(128)
    pace.stepped(1, 1.0)
    pace.computed(pace.positions(1), 1e6)
    assert pace.positions(1) == 1
    for _ in range(20):
        pace.computed(pace.positions(1), 0.1 * pace.positions(1))
    assert pace.positions(1) > 10
