"""The comparison with other engines: its tables, and its messages about missing engines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost, engines, heads, peers
from bitnet_onnx.runtime.session import Session
from tests.support import checkpoints

OURS, LLAMA = "bitnet_onnx, int8 head", "llama.cpp, TQ2_0, Q6_K head"


def result(engine: str, threads: int, decode: float, others: float | None = 0.0) -> dict[str, Any]:
    return {
        "engine": engine,
        "threads": threads,
        "decode": decode,
        "prefill": 10 * decode,
        "others": others,
        "peak_rss_bytes": 9e8,
    }


def test_a_row_gives_median_range_and_number_of_disturbed_runs() -> None:
    results = [result("ours", 2, 30), result("llama.cpp", 2, 20), result("ours", 2, 36, 0.5)]
    results += [result("ours", 2, 31), result("ours", 1, 17, None)]
    rows = peers.table(results, "int8", 128).splitlines()[2:]
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        [OURS, "2", "31.0 (30.0 to 36.0)", "310.0 (300.0 to 360.0)", "900", "3", "1"],
        [LLAMA, "2", "20.0 (20.0 to 20.0)", "200.0 (200.0 to 200.0)", "900", "1", "0"],
        [OURS, "1", "17.0 (17.0 to 17.0)", "170.0 (170.0 to 170.0)", "900", "1", "0"],
    ]


def test_a_missing_engine_is_skipped_with_a_note_or_refused_when_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.chosen(None) == ["ours", "stock"]
    notes = capsys.readouterr().err.splitlines()
    assert [note.startswith("note: ") and "left out" in note for note in notes] == [True, True]
    with pytest.raises(SystemExit) as exit_:
        peers.chosen(["ours", "llama.cpp"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        "error: llama.cpp is not installed: pip install 'bitnet-onnx[bench]'\n"
    )


def test_a_disturbed_measurement_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least disturbed one counts; repeating stops at the first undisturbed one."""
    others = iter([0.9, 0.4, 0.1, 0.0])
    monkeypatch.setattr(peers, "run", lambda *_: f'{{"others": {next(others)}}}')
    assert peers.measured("ours", Path("a"), 2, 8, retries=5)["others"] == 0.1
    assert next(others) == 0.0


def test_the_engine_of_this_package_is_measured(tmp_path_factory: pytest.TempPathFactory) -> None:
    artifact = checkpoints.exported(tmp_path_factory, **checkpoints.TIED)[1]
    figures = engines.measure(engines.ours(str(artifact), 1, 0), prompt=8, context=4, new=4)
    assert figures["prefill"] > 0 < figures["decode"]
    session = Session(artifact, threads=1)
    assert cost.rate(session, 4096, 2, new=4) > 0
    assert session.lengths == (session.context_length,) * 2


def test_the_cost_table_has_a_line_for_each_value() -> None:
    rates = {"batch": {1: [9.0, 10.0, 12.0], 2: [18.0]}}
    assert cost.table(rates).splitlines()[2:] == [
        "| batch | 1 | 10.0 (9.0 to 12.0) |",
        "| batch | 2 | 18.0 (18.0 to 18.0) |",
    ]


def test_plots_are_drawn_with_matplotlib(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    peers.plot([result("ours", 2, 30), result("llama.cpp", 2, 20)], "int8", tmp_path / "peers.svg")
    cost.plot({"batch": {1: [9.0], 2: [18.0]}, "threads": {1: [9.0]}}, tmp_path / "cost.svg")
    assert "<svg" in (tmp_path / "peers.svg").read_text() + (tmp_path / "cost.svg").read_text()


def test_a_plot_without_matplotlib_exits_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit) as exit_:
        peers.plot([result("ours", 2, 30)], "int8", tmp_path / "peers.svg")
    assert exit_.value.code == 2
    assert "pip install 'bitnet-onnx[bench]'" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["random", "demo"])
def test_heads_of_fewer_bits_are_counted(source: str) -> None:
    text = "A question and its answer, again and again. " * 300
    network = heads.random_network(3000, 300) if source == "random" else heads.demo_network(text)
    found = heads.count(network, 512, 1024)
    assert found["positions"] == 1024
    changed = {name: counts["ids"] for name, counts in found["heads"].items()}
    assert changed["two-step"] == changed["two-step-int4"] == 0
    assert found["heads"]["two-step-int4"]["among 64"] == 0
    read = found["heads"]["two-step-int4"]["rows read"]
    assert 1024 * 128 <= read < 1024 * found["rows"] / 2
    if source == "random":
        assert 0 < changed["int8"] < changed["int6"] < changed["int4"] < 512
