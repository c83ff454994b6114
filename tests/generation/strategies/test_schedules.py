"""The number of drafts follows what was accepted and what a call costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bitnet_onnx.generation.strategies.drafts import Outcome
from bitnet_onnx.generation.strategies.following import HOPES
from bitnet_onnx.generation.strategies.schedules import Constant, Economy, Heuristic

Cost = Callable[[int], float]  # seconds of a call, by its positions
FLAT: Cost = lambda positions: 0.02 * (1 + 0.1 * (positions - 1))  # noqa: E731
STAIRS: Cost = lambda positions: 0.02 * (1 + 0.9 * ((positions - 1) // 4))  # noqa: E731
STEEP: Cost = lambda positions: 0.02 * positions  # noqa: E731


def outcome(
    kind: int, drafted: int, accepted: int, seconds: float, drafting: float = 0.0
) -> Outcome:
    """Return what became of drafts of one kind."""
    missed = accepted < drafted
    return Outcome([kind] * drafted, drafted, accepted, missed, seconds, drafting)


Longer = Callable[[int, int], float]  # times that call i of so many positions takes longer
QUIET: Longer = lambda i, positions: 1.0  # noqa: E731


def run(
    economy: Economy,
    cost: Cost,
    chance: float,
    steps: int,
    seed: int = 0,
    longer: Longer = QUIET,
) -> float:
    """Return how many times faster than plain steps the ids came, but for interruptions."""
    generator, ids, spent = np.random.default_rng(seed), 0, 0.0
    for i in range(steps):
        drafted = economy.most([2] * 10)
        refused = np.flatnonzero(generator.random(drafted) >= chance)
        accepted = int(refused[0]) if len(refused) else drafted
        seconds = cost(drafted + 1) * longer(i, drafted + 1)
        economy.learn(outcome(2, drafted, accepted, seconds))
        ids += accepted + 1
        spent += cost(drafted + 1)
    return ids * cost(1) / spent


def test_a_constant_schedule_takes_all() -> None:
    schedule = Constant()
    schedule.learn(outcome(0, 5, 0, 1.0))
    assert [schedule.most([0] * n) for n in (0, 1, 9)] == [0, 1, 9]


def test_the_heuristic_is_that_of_transformers() -> None:
    schedule, counts = Heuristic(3), []
    for accepted in (3, 5, 6, 0, 5, 0, 0, 0, 0, 0, 0, 0):
        counts.append(schedule.most([0] * 99))
        schedule.learn(outcome(0, counts[-1], accepted, 1.0))
        schedule.learn(outcome(0, 0, 0, 1.0))  # a step without drafts tells nothing
    assert counts == [3, 5, 7, 6, 5, 7, 6, 5, 4, 3, 2, 1]
    assert schedule.most([0] * 99) == 1
    assert schedule.most([]) == 0


@pytest.mark.parametrize("cost", [FLAT, STAIRS, STEEP])
@pytest.mark.parametrize("steps", [60, 100, 1000])
def test_text_that_does_not_repeat_loses_three_percent_at_most(cost: Cost, steps: int) -> None:
    for chance in (0.0, 0.05, 0.2):
        assert run(Economy(), cost, chance, steps) >= 0.97


@pytest.mark.parametrize(("cost", "least"), [(FLAT, 3.5), (STAIRS, 2.5)])
def test_text_that_repeats_gains(cost: Cost, least: float) -> None:
    assert run(Economy(), cost, 0.97, 60) >= least
    assert run(Economy(), cost, 0.6, 200) >= 1.2


@pytest.mark.parametrize("cost", [FLAT, STAIRS])
def test_text_that_begins_to_repeat_is_noticed(cost: Cost) -> None:
    economy = Economy()
    run(economy, cost, 0.0, 500)
    run(economy, cost, 1.0, 150)
    assert run(economy, cost, 1.0, 100) >= 2
    run(economy, cost, 0.0, 100)
    assert run(economy, cost, 0.0, 100) >= 0.97


def once_in_call(call: int, times: float) -> Longer:
    """Return an interruption of one call."""
    return lambda i, _positions: times if i == call else 1.0


def once_from_width(width: int, times: float) -> Longer:
    """Return an interruption of the first call that is so wide."""
    over = list[bool]()

    def longer(_i: int, positions: int) -> float:
        if over or positions < width:
            return 1.0
        over.append(True)
        return times

    return longer


@pytest.mark.parametrize("cost", [FLAT, STAIRS])
@pytest.mark.parametrize("times", [2.0, 10.0, 1000.0])
@pytest.mark.parametrize("chance", [1.0, 0.9])
def test_one_interrupted_call_is_not_believed_for_long(
    cost: Cost, times: float, chance: float
) -> None:
    for seed in range(8):
        quiet = run(Economy(), cost, chance, 60, seed)
        for longer in (once_in_call(seed, times), once_from_width(seed + 1, times)):
            assert run(Economy(), cost, chance, 60, seed, longer) >= 0.8 * quiet


@pytest.mark.parametrize("cost", [FLAT, STAIRS, STEEP])
@pytest.mark.parametrize("chance", [0.0, 0.05, 0.6, 0.9])
def test_interruptions_change_little(cost: Cost, chance: float) -> None:
    quiet, noisy = [], []
    for seed in range(8):
        noise = np.random.default_rng(seed + 100)

        def longer(_i: int, _positions: int, noise: np.random.Generator = noise) -> float:
            return 1 + 5 * noise.random() if noise.random() < 0.1 else 1.0

        quiet.append(run(Economy(), cost, chance, 200, seed))
        noisy.append(run(Economy(), cost, chance, 200, seed, longer))
    assert np.mean(noisy) >= 0.8 * np.mean(quiet)
    if chance < 0.1:
        assert min(noisy) >= 0.95


def test_a_call_that_costs_as_much_as_its_positions_never_pays() -> None:
    economy = Economy()
    run(economy, STEEP, 0.5, 100)
    assert economy.most([2] * 10) == 0


@pytest.mark.parametrize("hopes", [None, HOPES], ids=["no hopes", "hopes"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_a_wider_call_that_took_less_than_a_step_costs_one(
    share: float, hopes: dict[int, float] | None
) -> None:
    """The steps before it were interrupted; its cost is never nothing, nor below."""
    economy = Economy(hopes)
    for _ in range(5):
        economy.learn(outcome(7, 0, 0, 1.0))
    economy.learn(outcome(7, 4, 4, share))
    assert economy.most([7] * 10) >= 4


def test_slow_drafts_are_fewer() -> None:
    counts = []
    for drafting in (0.0, 0.01, 0.1):
        economy, generator, all_of_them = Economy(), np.random.default_rng(1), 0
        for _ in range(300):
            drafted = economy.most([0] * 8)
            accepted = int(np.argmin([*(generator.random(drafted) < 0.8), False]))
            call = FLAT(drafted + 1)
            economy.learn(outcome(0, drafted, accepted, call, drafted * drafting))
            all_of_them += drafted
        counts.append(all_of_them / 300)
    assert counts[0] > counts[1] + 1
    assert counts[1] > 0.5 > counts[2]


def test_kinds_have_their_own_luck() -> None:
    economy, all_of_them = Economy(), {1: 0, 2: 0}
    for step in range(200):
        kind = 1 + step % 2
        drafted = economy.most([kind] * 6)
        accepted = drafted if kind == 2 else 0
        economy.learn(outcome(kind, drafted, accepted, FLAT(drafted + 1)))
        all_of_them[kind] += drafted
    assert all_of_them[2] > 560
    assert all_of_them[1] < 60


def test_nothing_is_tried_before_a_step_was_measured() -> None:
    economy = Economy()
    assert economy.most([1] * 5) == 0
    economy.learn(outcome(1, 0, 0, 0.0))  # a clock that stands still
    assert economy.most([1] * 5) > 0
