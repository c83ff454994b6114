"""The comparison with other engines: which are measured, how, and what is made for them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import cost, engines, heads, peers
from bitnet_onnx.bench import measure
from bitnet_onnx.cli.main import main
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights import synthesize
from tests.support import checkpoints

RESULTS = [
    {"engine": engine, "threads": 2, "decode": 30.0, "prefill": 300.0} for engine in ("ours", "ik")
]


def test_a_missing_engine_is_skipped_with_a_note_or_refused_when_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.chosen(None) == {"ours": None, "stock": None}
    notes = capsys.readouterr().err.splitlines()
    assert [note.startswith("note: ") and "left out" in note for note in notes] == [True, True]
    with pytest.raises(SystemExit) as exit_:
        peers.chosen([("ours", None), ("llama.cpp", None)])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        "error: llama.cpp is not installed: pip install 'bitnet-onnx[bench]'\n"
    )


def test_engines_are_named_or_given_as_commands() -> None:
    items = [peers.named(text) for text in ("ik=bench -p $PROMPT --a=b", "ours")]
    assert items == [("ik", "bench -p $PROMPT --a=b"), ("ours", None)]
    assert list(peers.chosen(items)) == ["ik", "ours"]


@pytest.mark.parametrize("text", ["ik", "", "=bench", "ik=", "ik= ", "ours=bench", "stock="])
def test_other_items_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected ours, .* NAME=COMMAND"):
        peers.named(text)


def test_an_engine_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        peers.chosen([("ik", "a"), ("ours", None), ("ik", "b")])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: engine 'ik' is given twice, expected once\n"


def test_a_command_gets_the_sizes_and_prints_both_figures() -> None:
    command = """echo talk; echo "{\\"prefill\\": $PROMPT, \\"decode\\": $THREADS$CONTEXT$NEW}" """
    found = engines.commanded(command, threads=2, prompt=512, context=128, new=64)
    assert (found["prefill"], found["decode"]) == (512.0, 212864.0)
    assert found["peak_rss_bytes"] > 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo no such file >&2; exit 3", "ended with 3: no such file"),
        ("exit 1", "ended with 1: no message"),
        ("true", "last line is ''"),
        ("echo 12.5", "expected a JSON object"),
        ("echo '{\"prefill\": 3}'", "expected a JSON object"),
        ('echo \'{"prefill": 3, "decode": 0}\'', "expected a JSON object"),
        ('echo \'{"prefill": 3, "decode": NaN}\'', "expected a JSON object"),
        ('echo \'{"prefill": 3, "decode": []}\'', "expected a JSON object"),
        ('echo \'{"prefill": 3, "decode": 4\'', "expected a JSON object"),
    ],
)
def test_a_command_that_fails_or_prints_something_else_is_refused(command: str, words: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        engines.commanded(command, 1, 8, 4, 4)
    assert str(exit_.value).startswith("error: the command")
    assert words in str(exit_.value)


def test_a_round_measures_all_engines_between_two_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd rounds run in the reverse order; an engine of another name is measured by its command."""
    calls: list[tuple[object, ...]] = []

    def read(threads: int) -> float:
        calls.append(("read",))
        return 1e9

    def run(*arguments: object) -> str:
        calls.append(arguments[1:3])
        return '{"decode": 1, "prefill": 1, "others": 0}'

    monkeypatch.setattr(measure, "read_bandwidth", read)
    monkeypatch.setattr(peers, "run", run)
    models: dict[str, str | Path] = {"ours": Path("a"), "ik": "bench"}
    results, reads = peers.sat(models, rounds=2, counts=[2], new=8, retries=3)
    ours, ik, seen = ("ours", Path("a")), ("command", "bench"), ("read",)
    assert calls == [seen, ours, ik, seen, seen, ik, ours, seen]
    assert [(r["round"], r["engine"]) for r in results] == [
        (0, "ours"), (0, "ik"), (1, "ik"), (1, "ours"),
    ]  # fmt: skip
    assert reads == {(0, 2): (1e9, 1e9), (1, 2): (1e9, 1e9)}


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_models_of_every_share_of_zeros_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zeros: float
) -> None:
    """The columns that close gates hold one value each, which is refused in other checkpoints."""
    small = {"vocab_size": 320, "hidden_size": 1280, "intermediate_size": 256}
    ids = {"bos_token_id": 0, "eos_token_id": [1]}
    heads = {"num_attention_heads": 10, "num_key_value_heads": 5}
    preset = synthesize.PRESETS["2b-4t"] | small | heads | ids
    monkeypatch.setitem(synthesize.PRESETS, "2b-4t", preset)
    monkeypatch.setattr(peers, "run", lambda _, *arguments: main([*map(str, arguments)]))
    for engine in ("ours", "stock"):
        assert (peers.made(tmp_path, engine, "int8", zeros, 1) / "manifest.json").exists()


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
    peers.plot(RESULTS, {"ours": "bitnet_onnx", "ik": "ik"}, tmp_path / "peers.svg")
    cost.plot({"batch": {1: [9.0], 2: [18.0]}, "threads": {1: [9.0]}}, tmp_path / "cost.svg")
    assert "<svg" in (tmp_path / "peers.svg").read_text() + (tmp_path / "cost.svg").read_text()


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        (heads, ["no.gguf"], "no.gguf is not a file, expected random, demo or a file"),
        (heads, ["demo", "--text", "no.txt"], "--text is no.txt, expected a file"),
        (heads, ["random", "--positions", "0"], "at least 512 --positions"),
        (heads, ["random", "--positions", "511"], "at least 512 --positions"),
        (heads, ["random", "--start", "-1"], "a --start of 0 or more"),
        (peers, ["--rounds", "0"], "--rounds is 0, expected 1 or more"),
        (peers, ["--rounds", "-2"], "--rounds is -2, expected 1 or more"),
    ],
)
def test_what_would_measure_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    module: ModuleType, arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x", *arguments])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_plot_without_matplotlib_exits_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit) as exit_:
        peers.plot(RESULTS, {"ours": "bitnet_onnx", "ik": "ik"}, tmp_path / "peers.svg")
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
