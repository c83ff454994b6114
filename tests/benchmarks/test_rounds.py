"""Rounds are judged by the median of the ratios within each round."""

from __future__ import annotations

from typing import Any

from benchmarks import rounds

LABELS = {"ours": "bitnet_onnx", "ik": "IQ2_BN"}


def result(
    engine: str, index: int, decode: float, threads: int = 2, others: float | None = 0.0
) -> dict[str, Any]:
    return {
        "engine": engine,
        "round": index,
        "threads": threads,
        "decode": decode,
        "prefill": 10 * decode,
        "others": others,
        "peak_rss_bytes": 9e8,
    }


# The host halves its speed in the second round: each engine's median says little, the ratios do.
DRIFTING = [
    *(result("ours", 0, 60), result("ik", 0, 50)),
    *(result("ik", 1, 20), result("ours", 1, 25)),
    *(result("ours", 2, 66), result("ik", 2, 60)),
]


def test_ratios_are_taken_within_a_round_in_any_order() -> None:
    assert rounds.ratios(DRIFTING, "ours", "ik", 2, "decode") == [1.2, 1.25, 1.1]
    assert rounds.ratios(DRIFTING[::-1], "ours", "ik", 2, "decode") == [1.1, 1.25, 1.2]
    assert rounds.ratios(DRIFTING, "ours", "ours", 2, "prefill") == [1.0, 1.0, 1.0]


def test_ratios_keep_threads_and_incomplete_rounds_apart() -> None:
    results = [result("ours", 0, 30, 1), result("ik", 0, 10, 2), result("ours", 1, 8, 2)]
    assert rounds.ratios(results, "ours", "ik", 1, "decode") == []
    assert rounds.ratios(results, "ours", "ik", 2, "decode") == []
    results.append(result("ours", 0, 15, 2))
    assert rounds.ratios(results, "ours", "ik", 2, "decode") == [1.5]


def test_every_other_round_runs_in_the_reverse_order() -> None:
    orders = [rounds.turns(["a", "b", "c"], index) for index in range(3)]
    assert orders == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def cells(table: str) -> list[list[str]]:
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_row_gives_medians_ranges_ratios_and_the_number_of_disturbed_runs() -> None:
    results = [*DRIFTING, result("ours", 0, 17, 1, None), result("ik", 0, 20, 1, 0.5)]
    ours, ours_1, ik, ik_1 = "bitnet_onnx 2", "bitnet_onnx 1", "IQ2_BN 2", "IQ2_BN 1"
    found = {" ".join(row[:2]): row[2:] for row in cells(rounds.table(results, LABELS, 128))}
    assert list(found) == [ours, ik, ours_1, ik_1]
    assert found[ours][:4] == ["60.0 (25.0 to 66.0)", "", "600.0 (250.0 to 660.0)", ""]
    assert found[ik][:2] == ["50.0 (20.0 to 60.0)", "1.20 (1.10 to 1.25)"]
    assert found[ik][2:4] == ["500.0 (200.0 to 600.0)", "1.20 (1.10 to 1.25)"]
    assert found[ik_1][:2] == ["20.0 (20.0 to 20.0)", "0.85 (0.85 to 0.85)"]
    assert [row[4:] for row in found.values()] == [
        ["900", "3", "0"], ["900", "3", "0"], ["900", "1", "0"], ["900", "1", "1"],
    ]  # fmt: skip


def test_the_read_bandwidth_stands_beside_each_round() -> None:
    reads = {(0, 2): (60.04e9, 58e9), (1, 2): (31e9, 29.96e9)}
    assert cells(rounds.rounds_table(DRIFTING, reads, LABELS)) == [
        ["1", "2", "60.0, 58.0", "60.0, 600.0", "50.0, 500.0"],
        ["2", "2", "31.0, 30.0", "25.0, 250.0", "20.0, 200.0"],
    ]
