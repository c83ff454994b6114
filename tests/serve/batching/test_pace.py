"""The parts of prompts leave less than four steps between two tokens of a running answer."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bitnet_onnx.serve.batching.pace import FIRST, LEAST, MOST, Pace

Noise = Callable[[], float]


def filled(
    pace: Pace, left: int, running: int, step: float, fixed: float, each: float, noise: Noise
) -> list[tuple[float, int]]:
    """Fill a prompt while answers run; return the seconds and positions between their tokens.

    A part costs ``fixed`` and ``each`` position, later ones up to twice as much; noise is a factor
    of each measurement.
    """
    gaps, length = list[tuple[float, int]](), left
    while left:
        passed = 0.0
        while count := min(pace.positions(running, passed, left), left):
            left -= count
            seconds = (fixed + each * count * (2 - left / length)) * noise()
            pace.computed(running, count, seconds, left == 0)
            passed += seconds
            if not left:
                break
        fed, seconds = pace.fed, step * noise()
        pace.stepped(running, seconds)
        gaps.append((passed + seconds, fed))
    return gaps


def measured(running: int, step: float) -> Pace:
    pace = Pace(128)
    for _ in range(3):
        pace.stepped(running, step)
    return pace


COSTS = pytest.mark.parametrize("fixed", [0.3, 0.7, 0.9])
RATES = pytest.mark.parametrize("each", [0.02, 0.06, 0.1])


@COSTS
@RATES
@pytest.mark.parametrize("step", [1.0, 2.0])
def test_gaps_stay_near_their_share(fixed: float, each: float, step: float) -> None:
    """Seconds are those of a step of one row."""
    gaps = filled(measured(8, step), 2000, 8, step, fixed, each, lambda: 1.0)
    usual = sorted(gap for gap, _ in gaps)[len(gaps) // 2] / step
    assert 2 < usual < MOST + 0.1
    assert max(gap for gap, _ in gaps) <= (MOST + 0.35) * step


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("worst", [1.3, 1.5])
@COSTS
@RATES
def test_noise_that_was_seen_does_not_pass_four_steps(
    seed: int, worst: float, fixed: float, each: float
) -> None:
    """One measurement in ten takes longer; 100 steps came before the prompt."""
    dice = random.Random(seed)

    def noise() -> float:
        return 1 + (worst - 1) * dice.random() ** 0.5 if dice.random() < 0.1 else 1.0

    pace = measured(3, 1.0)
    for factor in (1.0, 1.0, worst, 1.0, worst, 1.0, worst, *(noise() for _ in range(100))):
        pace.stepped(3, factor)
    gaps = filled(pace, 2000, 3, 1.0, fixed, each, noise)
    assert max(gap for gap, _ in gaps) < 4
    assert sum(fed for _, fed in gaps) == 2000


def test_a_noisy_machine_has_smaller_parts_for_a_while() -> None:
    usual, found = measured(2, 1.0), dict[float, int]()
    usual.computed(2, 20, MOST - 1, False)
    usual.stepped(2, 1.0)
    assert usual.positions(2, 0.0, 500) == 20
    for noise in (1.1, 1.5, 9.0):
        pace = measured(2, 1.0)
        for seconds in (1.0, 1.0, *[noise, 1.0, 1.0, 1.0] * 3):
            pace.stepped(2, seconds)
        pace.computed(2, 20, MOST - 1, False)
        found[noise] = pace.positions(2, 0.0, 500)
    assert found[1.1] == 20 > found[1.5] > found[9.0] > 0
    pace = measured(2, 1.0)
    for seconds in (1.0, 1.0, 9.0, 1.0, 1.0, 9.0, 1.0, 1.0):  # it stood still, twice
        pace.stepped(2, seconds)
    pace.computed(2, 20, MOST - 1, False)
    assert pace.positions(2, 0.0, 500) == 20
    pace.computed(2, 20, LEAST - 1, False)
    for _ in range(300):
        pace.stepped(2, 1.0)
    pace.computed(2, 20, MOST - 1, False)
    assert pace.positions(2, 0.0, 500) > found[9.0]


def test_before_anything_was_measured_parts_are_small() -> None:
    pace = Pace(128)
    assert pace.positions(0, 0.0, 500) == 128
    pace.computed(0, 128, 9.0, False)
    assert pace.positions(0, 0.0, 372) == 0  # a step of others comes first
    pace.stepped(0, 0.0)
    assert pace.positions(2, 0.0, 372) == FIRST
    pace.computed(2, FIRST, 0.0, False)
    assert pace.positions(2, 0.0, 364) == 0
    pace.stepped(2, 1.0)
    assert pace.positions(2, 0.0, 364) == FIRST
    assert Pace(3).positions(5, 0.0, 500) == 3


def test_what_has_passed_since_the_last_tokens_is_not_spent_again() -> None:
    pace = measured(4, 1.0)
    pace.computed(4, 12, MOST - 1, False)
    pace.stepped(4, 1.0)
    assert pace.positions(4, 0.0, 500) == 12
    assert 0 < pace.positions(4, 0.3, 500) < 12
    assert pace.positions(4, 1.7, 500) == 0


def test_steps_of_other_rows_bound_those_of_these() -> None:
    pace = measured(8, 8.0)
    pace.computed(8, 20, (MOST - 1) * 8, False)
    few, same, more = (pace.positions(rows, 0.0, 500) for rows in (2, 8, 9))
    # Two rows take between 2 and 8 seconds, nine between 8 and 9.
    assert few == 0 < more < same == 20


def test_the_end_of_a_prompt_has_a_cost_of_its_own() -> None:
    pace = measured(2, 1.0)
    pace.computed(2, 10, MOST - 1, False)
    pace.computed(2, 10, MOST - 0.8, True)  # with the head
    pace.stepped(2, 1.0)
    assert pace.positions(2, 0.0, 500) == pace.positions(2, 0.0, 11) == 10
    assert pace.positions(2, 0.0, 10) == 9
    assert pace.positions(2, 0.0, 2) >= 2


@pytest.mark.parametrize("spike", [3.0, 1e6])
def test_a_prompt_goes_on_after_a_slow_part(spike: float) -> None:
    pace = measured(1, 1.0)
    pace.computed(1, 8, spike, False)
    pace.stepped(1, 1.0)
    gaps = filled(pace, 100, 1, 1.0, 0.7, 0.06, lambda: 1.0)
    assert len(gaps) < 25
    assert max(gap for gap, _ in gaps) <= MOST + 0.1


def test_a_prompt_does_not_wait_for_ever_where_no_step_leaves_time() -> None:
    pace = measured(1, 1.0)
    pace.computed(1, 8, 1.0, False)
    fed = 0
    for _ in range(50):
        pace.stepped(1, 1.0)
        if count := pace.positions(1, 9.0, 500):
            pace.computed(1, count, 1.0, False)
            fed += count
    assert fed == 10
