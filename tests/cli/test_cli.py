"""The command line: its output on stdout, its errors for a user's mistake, its exit codes."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_onnx import artifact as artifact_module
from bitnet_onnx.cli.main import COMMANDS, main, parser
from bitnet_onnx.weights import synthesize

QUESTION = "What is 3 + 4?"
TINY = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": [1],
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command with a mistake; return its one sentence."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith("hint: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"bitnet-onnx {command}" in capsys.readouterr().out


def test_generate_prints_the_same_answer_in_every_format(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text, talk = run(capsys, "generate", demo_artifact, QUESTION)
    _, ids, _ = run(capsys, "generate", demo_artifact, QUESTION, "--format", "ids")
    _, record, _ = run(capsys, "generate", demo_artifact, QUESTION, "--format", "json")
    fields = json.loads(record)
    assert fields["text"] == text.rstrip("\n") != ""
    assert ",".join(map(str, fields["ids"])) == ids.strip()
    assert fields["finish_reason"] == "stop"
    assert "tokens/s" in talk


def test_prompts_from_arguments_file_and_stdin_give_the_same_ids(
    demo_artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file with two prompts gives the ids that each prompt gives alone; so does stdin."""
    other = "Reverse the word HOUSE."
    single = [
        run(capsys, "generate", demo_artifact, prompt, "--format", "ids")[1]
        for prompt in (QUESTION, other)
    ]
    (tmp_path / "prompts").write_text(f"{QUESTION}\n\n{other}\n")
    file = ("--prompts-file", tmp_path / "prompts")
    assert run(capsys, "generate", demo_artifact, *file, "--format", "ids")[1] == "".join(single)
    monkeypatch.setattr(sys, "stdin", io.StringIO(QUESTION))
    assert run(capsys, "generate", demo_artifact, "-", "--format", "ids")[1] == single[0]


def test_prompt_ids_are_fed_unchanged(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ("--prompt-ids", "0,20,30", "--max-new-tokens", "3", "--format", "json")
    code, out, _ = run(capsys, "generate", demo_artifact, *ids)
    assert code == 0
    assert json.loads(out)["prompt_tokens"] == 3


def test_the_same_seed_gives_the_same_sample(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--do-sample", "--temperature", "5", "--seed", "11", "--max-new-tokens", "20")
    first, second = (run(capsys, "generate", demo_artifact, QUESTION, *options) for _ in range(2))
    assert first[:2] == second[:2]
    greedy = run(capsys, "generate", demo_artifact, QUESTION)
    assert greedy[1] != first[1]


def test_generate_cuts_the_text_at_a_stop_string(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word = ("generate", demo_artifact, "Spell the word STONE.")
    whole = run(capsys, *word)[1].rstrip("\n")
    cut = run(capsys, *word, "--stop-strings", whole[2:4])[1].rstrip("\n")
    assert cut == whole[:2]


def test_chat_answers_each_line(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n/reset\n{QUESTION}\n/exit\nno\n"))
    code, out, _ = run(capsys, "chat", demo_artifact)
    assert code == 0
    first, second = out.splitlines()
    assert first == second == run(capsys, "generate", demo_artifact, QUESTION)[1].rstrip("\n")


def test_bench_prints_one_json_object(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--prompt-tokens", "8", "--max-new-tokens", "4", "--runs", "1", "--format", "json")
    code, out, _ = run(capsys, "bench", demo_artifact, *options)
    fields = json.loads(out)
    assert code == 0
    assert fields["kernel"]
    for name in ("prefill_tokens_per_second", "decode_tokens_per_second", "peak_rss_bytes"):
        assert fields[name] > 0


def test_verify_exits_with_1_for_changed_weights(
    demo_checkpoint: Path,
    demo_artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code is 0 for the artifact of this checkpoint, 1 once some weights differ."""
    options = ("--prompt-ids", "0,40,50,60", "--max-new-tokens", "4")
    assert run(capsys, "verify", demo_checkpoint, demo_artifact, *options)[0] == 0
    changed = shutil.copytree(demo_artifact, tmp_path / "changed")
    data = bytearray((changed / "model.onnx_data").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8192] = bytes(8192)  # the code 0 is the weight -1
    (changed / "model.onnx_data").write_bytes(data)
    monkeypatch.setattr(artifact_module, "HASHED_AT_OPEN", 0)
    code, out, _ = run(capsys, "verify", demo_checkpoint, changed, *options)
    assert code == 1
    assert "disagree" in out
    code, _, talk = run(capsys, "info", changed, "--check")
    assert code == 2
    assert "sha256" in talk


def test_info_checks_hashes(demo_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, talk = run(capsys, "info", demo_artifact, "--check")
    assert code == 0
    assert "active kernel" in out
    assert '"format_version": 2' in out
    assert "sha256" in talk


def test_a_synthesized_checkpoint_is_reproducible_and_exports_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed gives the same bytes, and the exported network agrees with the checkpoint."""
    monkeypatch.setitem(synthesize.PRESETS, "tiny", TINY)
    for name in ("a", "b"):
        assert run(capsys, "synthesize", "--preset", "tiny", "-o", tmp_path / name)[0] == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "model.safetensors" in files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for head in ("bf16", "int8"):
        output = tmp_path / head
        assert run(capsys, "export", tmp_path / "a", "-o", output, "--head", head)[0] == 0
        assert run(capsys, "verify", tmp_path / "a", output, "--max-new-tokens", "8")[0] == 0


def test_demo_answers_its_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "demo", "--artifact", tmp_path / "artifact")
    assert code == 0
    assert "answers are right" in out
    assert (tmp_path / "artifact" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([""], "prompt is empty"),
        ([QUESTION, "--prompt-ids", "1"], "expected one of: a prompt, --prompt-ids"),
        (["--prompt-ids", "1,x"], "'1,x'"),
        (["--prompt-ids", "99999999"], "99999999"),
        (["--prompts-file", "no-such-file"], "no-such-file"),
        ([QUESTION, "--temperature", "-1", "--do-sample"], "temperature"),
        ([QUESTION, "--do-sample", "--top-p", "1.5"], "top_p"),
        ([QUESTION, "--do-sample", "--top-k", "-1"], "top_k"),
        ([QUESTION, "--do-sample", "--min-p", "nan"], "min_p"),
        ([QUESTION, "--repetition-penalty", "-1"], "repetition_penalty"),
        ([QUESTION, "--do-sample", "--seed", "-5"], "seed"),
        ([QUESTION, "--max-new-tokens", "0"], "max_new_tokens"),
        ([QUESTION, "--threads", "-2"], "threads"),
        ([QUESTION, "--stop-strings", ""], "stop_strings is ''"),
        (["word " * 2000], "context"),
    ],
)
def test_a_mistake_in_generate_is_one_sentence(
    options: list[str], words: str, demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, "generate", demo_artifact, *options)


def test_a_mistake_in_a_path_or_option_is_one_sentence(
    demo_checkpoint: Path, demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    assert "not an artifact folder" in refused(capsys, "generate", nowhere, QUESTION)
    assert "manifest.json" in refused(capsys, "generate", demo_checkpoint, QUESTION)
    assert "expected a folder" in refused(capsys, "export", nowhere, "-o", tmp_path / "x")
    assert "exists" in refused(capsys, "export", demo_checkpoint, "-o", demo_artifact)
    output = ("-o", tmp_path / "x")
    assert "fp4" in refused(capsys, "export", demo_checkpoint, *output, "--head", "fp4")
    long = ("--context-length", "1000000")
    assert "context_length" in refused(capsys, "export", demo_checkpoint, *output, *long)
    assert "3b" in refused(capsys, "synthesize", "--preset", "3b", *output)
    assert "--seed" in refused(capsys, "synthesize", "--preset", "2b-4t", *output, "--seed", "-1")
    assert "context" in refused(capsys, "bench", demo_artifact, "--prompt-tokens", "100000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("batch", "a", "requests.jsonl"),
        ("export", "a"),
        ("convert", "a", "--to", "packed"),
        ("synthesize", "--preset", "tiny"),
    ],
)
def test_a_dash_is_no_name_of_a_result(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--output is '-', expected a path" in refused(capsys, *command, "-o", "-")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("BITNET_ONNX_KERNEL", "sse9", "this CPU can run"),
        ("BITNET_ONNX_LIBRARY", "no-such-library.so", "does not exist"),
    ],
)
def test_a_mistake_in_the_environment_is_one_sentence(
    variable: str, value: str, words: str, demo_artifact: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bitnet_onnx", "generate", str(demo_artifact), QUESTION],
        env=os.environ | {variable: value},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


def test_every_command_calls_its_output_form_format() -> None:
    """``--output`` names only the folder or file to make."""
    actions = [action for command in subcommands().values() for action in command._actions]
    names = {name: action for action in actions for name in action.option_strings}
    assert "--json" not in names
    with_output = {n for n, c in subcommands().items() if "--output" in c._option_string_actions}
    assert with_output == {"export", "convert", "synthesize", "embed", "batch"}
    with_format = {n for n, c in subcommands().items() if "--format" in c._option_string_actions}
    assert with_format == {"generate", "bench", "verify", "evaluate", "info", "embed"}


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (action,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(action.choices)


def test_info_shows_a_manifest_without_the_library(demo_artifact: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bitnet_onnx", "info", str(demo_artifact), "--format", "json"],
        env=os.environ | {"BITNET_ONNX_LIBRARY": "no-such-library.so"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["library"].startswith("not usable: the custom-op library no-such-library.so")
    assert found["artifact"]["task"] == "text-generation"


@pytest.mark.parametrize("kernel", ["nope", "scalar,avx2"])
def test_info_refuses_a_forced_kernel_that_cannot_run(kernel: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bitnet_onnx", "info"],
        env=os.environ | {"BITNET_ONNX_KERNEL": kernel},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"BITNET_ONNX_KERNEL is {kernel!r}, expected one" in done.stderr
    assert "hint: unset BITNET_ONNX_KERNEL" in done.stderr


def test_ids_need_no_tokenizer(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(demo_artifact, bare)
    manifest = json.loads((bare / "manifest.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
        del manifest["files"][name]
    (bare / "manifest.json").write_text(json.dumps(manifest))
    given = ("--prompt-ids", "5,6,7", "--max-new-tokens", "5", "--temperature", "0")
    printed = []
    for folder in (demo_artifact, bare):
        assert main(["generate", str(folder), *given, "--format", "ids"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    for needs_text in ([*given], [*given, "--format", "json"], ["a", "--format", "ids"]):
        assert "tokenizer.json" in refused(capsys, "generate", bare, *needs_text)


def test_web_refuses_an_artifact_that_a_browser_cannot_run(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a browser runs 'stock'" in refused(capsys, "web", demo_artifact)
    assert "is not an artifact folder" in refused(capsys, "web", tmp_path / "nowhere")
