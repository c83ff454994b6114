"""export --for: what a kind of device wants, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.arm import DEVICES
from bitnet_onnx.artifact import KV_CACHES, Artifact
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.devices import PRESETS, RATES, cache_bytes, expectations, wanted
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.weights.synthesize import PRESETS as SHAPES
from tests.support import checkpoints
from tests.support.text.chat_files import chat_folder
from tests.support.text.published_templates import CONCATENATIONS
from tests.support.text.templates import TEMPLATES

OPTIONS = ("target", "head", "linears", "kv_cache", "context_length")
NOTHING: dict[str, Any] = dict.fromkeys(OPTIONS)


def config(**changes: Any) -> BitNetConfig:
    return BitNetConfig.from_dict({"model_type": "bitnet", **SHAPES["2b-4t"], **changes})


def artifact(**changes: Any) -> Artifact:
    """Return the artifact of 2B-4T, as if it were there."""
    files = {"model.onnx": {"size": 10**6}, "model.onnx_data": {"size": 854 * 10**6}}
    made = Artifact(
        Path(), {"files": files}, 4096, 128256, 30, 5, 128, "native", "int8", "int8"
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize("name", PRESETS)
def test_a_device_gets_what_it_wants_and_what_is_given_wins(name: str) -> None:
    preset, found = PRESETS[name], wanted(name, config(), NOTHING)
    assert found == vars(preset) | {"linears": None}  # the linears of 2B-4T are ternary
    short = config(max_position_embeddings=300)
    assert wanted(name, short, NOTHING)["context_length"] == 300
    given: dict[str, Any] = {
        "target": "stock",
        "head": "bf16",
        "linears": "ternary",
        "kv_cache": "float16",
    }
    given |= {"context_length": 77}
    found = wanted(name, config(), given)
    assert found == given | {"copy_library": preset.copy_library}


def test_a_target_that_a_browser_cannot_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="target is 'native', expected 'stock' for web"):
        wanted("web", config(), NOTHING | {"target": "native"})


@pytest.mark.parametrize(
    ("network", "given", "sentence", "first"),
    [
        ({}, {"head": "two-step"}, "head is 'two-step', which only", "--head bf16 for the same"),
        ({}, {"head": "int4"}, "head is 'int4', which only", "--head bf16 for the same ids, or "),
        ({}, {"kv_cache": "int8"}, "kv_cache is 'int8', which only", "--kv-cache float16, or "),
        (
            {"vocab_size": 3 * 10**5, "num_hidden_layers": 60},
            {"head": "bf16"},
            "the weights take 5.7 GB at run time, expected at most 4.3 GB for a browser",
            "--head int8 if you have not, or ",
        ),
        ({}, {"head": "int9"}, "head is 'int9', expected one of: ", None),
        ({}, {"context_length": 9999}, "context_length is 9999, expected 1 to 4096", None),
    ],
)
def test_what_a_browser_cannot_run_is_refused_before_the_weights_are_read(
    network: dict[str, Any], given: dict[str, Any], sentence: str, first: str | None
) -> None:
    with pytest.raises(ConfigError) as found:
        wanted("web", config(**network), NOTHING | given)
    assert str(found.value).startswith(sentence)
    if first is None:
        assert found.value.hint is None
    else:
        assert (found.value.hint or "").startswith(f"export with {first}")
        assert (found.value.hint or "").endswith("for another device: android, ios, board")


@pytest.mark.parametrize("name", PRESETS)
def test_a_network_that_a_device_cannot_run_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = checkpoints.make_grouped(tmp_path / "c")
    code = main(["export", str(source), "-o", str(tmp_path / "a"), "--for", name])
    said = [line for line in capsys.readouterr().err.splitlines() if ": " in line]
    if name != "web":
        assert code == 0
        return
    assert code == 2
    assert said[-2:] == [
        "error: group_size is 128, which no stock operator makes exact and fast",
        "hint: export for another device: android, ios, board",
    ]
    assert not (tmp_path / "a").exists()


def test_sizes_are_those_of_the_measured_shape() -> None:
    """docs/performance.md: 629, 315, 162 and 88 MB for 4096 positions; 854 MB of weights."""
    sizes = [cache_bytes(artifact(kv_cache=kind)) / 1e6 for kind in KV_CACHES]
    assert [round(size) for size in sizes] == [629, 315, 162, 88]
    lines = list(expectations("android", config(), artifact()))
    assert lines[0] == "for android: target native, head int8, cache int8, context 4096"
    assert lines[1].startswith("note: the int8 head and the int8 cache round, so ids can differ")
    assert lines[2] == "size: 855 MB"
    assert lines[3].startswith("expected memory: 1.11 GB, of which 854 MB weights, 162 MB")


def test_the_prediction_is_the_table_of_benchmarks_arm() -> None:
    """Of its devices, and with its figures: 5 to 6 and 14 to 15 tokens/s for Raspberry Pi."""
    rates = json.loads(RATES.read_text("utf-8"))["devices"]
    listed = [device for device in DEVICES if device.group]
    assert [(rate["name"], rate["for"]) for rate in rates] == [
        (device.name, device.group) for device in listed
    ]
    assert [rate["memory"] for rate in rates] == [
        round(device.peak * device.share * 1e9) for device in listed
    ]
    for name in ("android", "ios", "board"):
        line = list(expectations(name, config(), artifact()))[-1]
        assert line.startswith("tokens/s, predicted, not measured: ")
        assert all(rate["name"] in line for rate in rates if rate["for"] == name)
    for head, speeds in (
        ("two-step", "Pi 4 5; Raspberry Pi 5 14"),
        ("two-step-int6", "Pi 4 6; Raspberry Pi 5 15"),
    ):
        board = list(expectations("board", config(), artifact(head=head)))[-1]
        assert board.endswith(f"tokens/s, predicted, not measured: Raspberry {speeds}")


def test_rounding_is_named() -> None:
    for head, cache, rounds in (
        ("two-step", "float32", []),
        ("bf16", "float16", ["the float16 cache rounds"]),
        ("int4", "float32", ["the int4 head rounds"]),
    ):
        lines = list(expectations("board", config(), artifact(head=head, kv_cache=cache)))
        notes = [line for line in lines if line.startswith("note: ")]
        assert [note.removeprefix("note: ").split(",")[0] for note in notes] == rounds


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, "--head two-step and --kv-cache float32 keep them"),
        ({"kv_cache": "float32"}, "--head two-step keeps them"),
        ({"head": "two-step"}, "--kv-cache float32 keeps them"),
        ({"target": "stock", "kv_cache": "float32"}, "--head bf16 keeps them"),
        ({"target": "stock", "kv_cache": "float16"}, "--head bf16 and --kv-cache float32 keep"),
    ],
)
def test_what_keeps_the_ids_is_what_the_target_can_run(changes: dict[str, Any], kept: str) -> None:
    name = "web" if changes.get("target") == "stock" else "android"
    assert kept in list(expectations(name, config(), artifact(**changes)))[1]


def with_chat(folder: Path, template: str | None) -> Path:
    """Make a tiny checkpoint with the files of a tokenizer."""
    source = checkpoints.make(folder, layers=1)
    chat_folder(source, template)
    (source / "chat.json").unlink()
    return source


@pytest.mark.parametrize(
    ("template", "name", "note"),
    [
        (CONCATENATIONS["ChatML"], "web", None),
        (CONCATENATIONS["ChatML"], "board", None),
        (TEMPLATES["counts the turns"], "web", None),
        (TEMPLATES["counts the turns"], "board", "apps without Python cannot chat with this model"),
        (None, "web", "the page cannot chat with this model: the checkpoint has no chat template"),
        (
            None,
            "ios",
            "apps without Python cannot chat with this model: the checkpoint has no chat",
        ),
    ],
)
def test_who_cannot_chat_is_said(
    template: str | None,
    name: str,
    note: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = with_chat(tmp_path / "c", template)
    assert main(["export", str(source), "-o", str(tmp_path / "a"), "--for", name]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "cannot chat" in line]
    assert len(notes) == (note is not None)
    assert all(line.startswith(f"note: {note}") for line in notes)
    assert "chat.json" in Artifact.open(tmp_path / "a").manifest["files"]


@pytest.mark.parametrize(
    ("network", "changes", "reason"),
    [
        ({}, {"head": "bf16"}, "not predicted for the head bf16"),
        ({}, {"head": "int4"}, "not predicted for the head int4"),
        ({}, {"target": "stock"}, "not predicted for the stock target"),
        (
            {"num_hidden_layers": 1, "vocab_size": 4, "bos_token_id": 0, "eos_token_id": 1},
            {},
            "less than 64 MB",
        ),
    ],
)
def test_what_the_table_does_not_say_is_not_predicted(
    network: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    line = list(expectations("android", config(**network), artifact(**changes)))[-1]
    assert line.startswith("tokens/s: ")
    assert reason in line


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_exports_and_says_what_to_expect(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = checkpoints.make(tmp_path / "c", layers=1)
    options = ["export", str(source), "-o", str(tmp_path / "a"), "--for", name]
    assert main([*options, "--context-length", "48"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'a'}\n"
    made, preset = Artifact.open(tmp_path / "a"), PRESETS[name]
    assert (made.target, made.head, made.kv_cache) == (preset.target, preset.head, preset.kv_cache)
    assert made.context_length == 48
    for start in (f"for {name}: target ", "size: ", "expected memory: ", "tokens/s"):
        assert any(line.startswith(start) for line in err.splitlines()), err
    native = [file for file in made.manifest["files"] if "bitnet_onnx_ops" in file]
    assert bool(native) == (name == "board")


def test_an_unknown_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "x", "-o", str(tmp_path / "a"), "--for", "toaster"]) == 2
    assert "--for: invalid choice: 'toaster'" in capsys.readouterr().err
