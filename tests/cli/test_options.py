"""Options are obeyed or refused by name; those of generation_config.json are the defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bitnet_onnx
from bitnet_onnx.cli.main import main
from bitnet_onnx.verification.reference import transformers_network
from tests.support.artifacts import configured

QUESTION = "Spell the word STONE."


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def ids(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[int]:
    code, out, err = run(capsys, "generate", "--format", "ids", *arguments)
    assert code == 0, err
    return [int(part) for part in out.split(",")]


@pytest.mark.parametrize(
    "options",
    [
        ["--temperature", "0.7"],
        ["--top-k", "5"],
        ["--top-p", "0.5"],
        ["--min-p", "0.1"],
        ["--seed", "1"],
        ["--no-do-sample", "--seed", "1"],
    ],
    ids=str,
)
def test_an_option_that_would_be_ignored_is_refused(
    options: list[str], demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = str(demo_artifact)
    for command in (["generate", artifact, QUESTION], ["chat", artifact]):
        code, out, err = run(capsys, *command, *options)
        assert (code, out) == (2, "")
        name = options[-2]
        assert err == (
            f"error: {name} acts only when sampling, expected --do-sample with it\n"
            "hint: add --do-sample\n"
        )


def test_a_temperature_of_0_is_greedy(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    greedy = ids(capsys, demo_artifact, QUESTION)
    for options in (["--temperature", "0"], ["--do-sample", "--temperature", "0", "--top-p", "1"]):
        assert ids(capsys, demo_artifact, QUESTION, *options) == greedy
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        message = [{"role": "user", "content": QUESTION}]
        assert model.generate(message, temperature=0).result.ids == greedy


def test_a_prompt_stands_anywhere(demo_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = ids(capsys, demo_artifact, QUESTION, "--ignore-chat-template", "--max-new-tokens=4")
    plain, short = "--ignore-chat-template", ("--max-new-tokens", "4")
    artifact = str(demo_artifact)
    for arguments in (
        [artifact, plain, QUESTION, *short],
        [artifact, *short, plain, QUESTION],
        [plain, artifact, *short, QUESTION],
        [plain, *short, artifact, "--", QUESTION],
    ):
        assert ids(capsys, *arguments) == expected
    dashed = ids(capsys, *short, demo_artifact, "--", "-Hello")
    assert dashed != ids(capsys, demo_artifact, "Hello", *short)
    code, _, err = run(capsys, "generate", demo_artifact, plain, QUESTION, "and another")
    assert code == 2
    assert err.splitlines() == [
        "error: unrecognized arguments: and another",
        "hint: see: bitnet-onnx generate --help",
    ]


@pytest.mark.parametrize("option", ["--temperatur", "--max-new", "--temperatures"])
def test_an_option_is_written_in_full(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "generate", "artifact", QUESTION, option, "1")
    assert (code, err.splitlines()[0]) == (2, f"error: unrecognized arguments: {option} 1")


def test_stop_strings_accumulate_and_swallow_no_prompt(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(capsys, "generate", demo_artifact, QUESTION)[1].rstrip("\n")
    for name in ("--stop-string", "--stop-strings"):
        for options in (
            [name, whole[2:4], QUESTION],
            [QUESTION, name, "###", name, whole[2:4]],
            [name, whole[2:4], QUESTION, name, "###"],
        ):
            assert run(capsys, "generate", demo_artifact, *options)[1] == whole[:2] + "\n"
    code, _, err = run(capsys, "generate", demo_artifact, QUESTION, "--stop-string", "a", "b")
    assert (code, err.splitlines()[0]) == (2, "error: unrecognized arguments: b")


def test_the_text_of_the_token_that_ends_a_turn_stops(demo_artifact: Path) -> None:
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        message = [{"role": "user", "content": QUESTION}]
        ended = model.generate(message)
        eos = model.tokenizer.decode(ended.result.ids[-1:], skip_special_tokens=False)
        assert eos.startswith("<")
        stopped = model.generate(message, eos_token_id=(), stop_strings=eos)
        assert stopped.result.finish_reason == "stop_string"
        assert (stopped.text, stopped.result.ids) == (ended.text, ended.result.ids)


@pytest.mark.parametrize(
    "options",
    [
        ["--max-new-tokens", "3", "--max-new-tokens", "4"],
        ["--format", "ids", "--format", "text"],
        ["--do-sample", "--no-do-sample"],
        ["--do-sample", "--seed", "1", "--seed=1"],
        ["--prompt-ids", "1", "--prompt-ids", "2"],
    ],
    ids=str,
)
def test_an_option_given_twice_is_refused(
    options: list[str], demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "generate", demo_artifact, *options)
    assert (code, out) == (2, "")
    assert (
        "is given more than once, expected it once\nhint: see: bitnet-onnx generate --help" in err
    )


def test_a_mistake_of_the_parser_is_one_sentence(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        ([], "required: COMMAND"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["generate"], "required: artifact"),
        (["export", demo_artifact], "required: -o/--output"),
        (["generate", demo_artifact, "--threads", "x"], "--threads: invalid int value: 'x'"),
        (["generate", demo_artifact, "--temperature"], "--temperature: expected one argument"),
        (["info", "--format", "xml"], "invalid choice: 'xml'"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        lines = err.splitlines()
        assert lines[0].startswith("error: ")
        assert words in lines[0]
        assert lines[1].startswith("hint: see: bitnet-onnx")
        assert len(lines) == 2


FILES: dict[str, dict[str, Any]] = {
    "penalty": {"repetition_penalty": 1.9, "eos_token_id": [1, 2], "max_new_tokens": 12},
    "lengths": {"max_length": 24, "eos_token_id": 2, "min_new_tokens": 4},
    "no eos": {"eos_token_id": [299], "max_new_tokens": 20},
    "an earlier eos": {"eos_token_id": [1, 2, 45], "max_new_tokens": 20},
    "repeats": {
        "eos_token_id": [2],
        "no_repeat_ngram_size": 2,
        "max_new_tokens": 20,
        "suppress_tokens": [40, 41, 42],
    },
    "guided": {"eos_token_id": [1, 2], "guidance_scale": 1.5, "max_new_tokens": 9},
    "biased and marked": {
        "eos_token_id": [1, 2],
        "sequence_bias": [[[40], 2.0], [[41, 42], -9.0]],
        "watermarking_config": {"bias": 1.0},
        "max_new_tokens": 9,
    },
    "not sampled": {
        "eos_token_id": [1, 2],
        "do_sample": False,
        "temperature": 0.6,
        "max_new_tokens": 9,
    },
    "beams": {
        "num_beams": 4,
        "length_penalty": 0.5,
        "early_stopping": True,
        "eos_token_id": [1, 2],
        "no_repeat_ngram_size": 2,
        "max_new_tokens": 9,
    },
}


def test_the_artifacts_file_gives_the_ids_of_transformers(
    demo_checkpoint: Path, demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line and from Python, with the checkpoint's own class as the oracle."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers_network(bitnet_onnx.open_checkpoint(demo_checkpoint))
    for kind, values in FILES.items():
        artifact = configured(demo_artifact, tmp_path / kind, values)
        theirs.generation_config = transformers.GenerationConfig.from_pretrained(artifact)
        with bitnet_onnx.load(artifact, threads=1) as model:
            prompt = model.encode([{"role": "user", "content": QUESTION}])
            with torch.no_grad():
                both = theirs.generate(torch.tensor([prompt]))[0].tolist()
            assert prompt + model.generate(prompt).result.ids == both, kind
        given = ",".join(map(str, prompt))
        assert prompt + ids(capsys, artifact, "--prompt-ids", given) == both, kind


def test_options_go_before_the_file(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    greedy = ids(capsys, demo_artifact, QUESTION)
    values = {
        "do_sample": True,
        "temperature": 9.0,
        "top_k": 0,
        "max_new_tokens": 3,
        "chat_format": 1,
    }
    artifact = configured(demo_artifact, tmp_path / "a", values)
    code, out, err = run(capsys, "generate", artifact, QUESTION, "--seed", "1", "--format", "ids")
    assert code == 0
    assert out.count(",") <= 2
    assert "note: generation_config.json asks for sampling; --no-do-sample takes" in err
    assert "note: generation_config.json holds chat_format, which have no effect" in err
    long = ("--max-new-tokens", "99")
    assert ids(capsys, artifact, QUESTION, "--no-do-sample", *long) == greedy
    assert ids(capsys, artifact, QUESTION, "--temperature", "0", *long) == greedy
    assert ids(capsys, artifact, QUESTION, "--ignore-generation-config") == greedy
    with bitnet_onnx.load(artifact, threads=1) as model:
        assert model.generation_config.temperature == 9.0
        message = [{"role": "user", "content": QUESTION}]
        seeded = model.generate(message, seed=1).result.ids
        assert seeded == [int(part) for part in out.split(",")]
        assert model.generate(message, do_sample=False, max_new_tokens=99).result.ids == greedy
        own = bitnet_onnx.GenerationConfig(max_new_tokens=99)
        assert model.generate(message, own).result.ids == greedy


def test_a_field_that_is_not_implemented_is_refused_with_a_way_out(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = configured(demo_artifact, tmp_path / "a", {"token_healing": True, "top_k": 4})
    for command in (["generate", str(artifact), QUESTION], ["chat", str(artifact)]):
        code, out, err = run(capsys, *command)
        assert (code, out) == (2, "")
        assert "generation_config.json: token_healing is True in" in err
    assert run(capsys, "generate", artifact, QUESTION, "--ignore-generation-config")[0] == 0
    with pytest.raises(bitnet_onnx.GenerationError, match="token_healing is True"):
        bitnet_onnx.load(artifact)
    own = bitnet_onnx.GenerationConfig(max_new_tokens=3)
    with bitnet_onnx.load(artifact, threads=1, generation_config=own) as model:
        assert len(model.generate(QUESTION).result.ids) <= 3


def test_what_needs_hidden_states_is_refused_without_them(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = configured(demo_artifact, tmp_path / "a", {"penalty_alpha": 0.6, "top_k": 4})
    for command in (
        ["generate", str(artifact), QUESTION],
        ["chat", str(artifact)],
        ["generate", str(demo_artifact), QUESTION, "--dola-layers", "low"],
        ["generate", str(demo_artifact), QUESTION, "--penalty-alpha", "0.6", "--top-k", "4"],
    ):
        code, out, err = run(capsys, *command)
        assert (code, out) == (2, "")
        assert "but the artifact gives no hidden states, expected one that" in err
        assert "--outputs hidden-states" in err
    assert run(capsys, "generate", artifact, QUESTION, "--ignore-generation-config")[0] == 0
    for wrong, words in (
        (
            ("--dola-layers", "middle"),
            'dola_layers is \'middle\', expected "low", "high" or a list',
        ),
        (("--dola-layers", "1,x"), "dola_layers is '1,x', expected"),
        (("--penalty-alpha", "0.6", "--do-sample"), "--penalty-alpha acts only in greedy decoding"),
    ):
        code, out, err = run(capsys, "generate", demo_artifact, QUESTION, *wrong)
        assert (code, out) == (2, "")
        assert words in err
    kept = ("--prompt-cache", tmp_path / "kept")
    code, _, err = run(capsys, "generate", artifact, QUESTION, *kept)
    assert code == 2
    assert "--prompt-cache is given with penalty_alpha, which needs the hidden states" in err


def test_several_answers_and_a_negative_prompt(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line and Python give the same ids; several answers share one prefill."""
    drawn = ("--do-sample", "--temperature=9", "--seed=1", "--max-new-tokens=8", "--top-k=0")
    several = ("--num-return-sequences", "3", "--format", "ids")
    code, out, _ = run(capsys, "generate", demo_artifact, QUESTION, *drawn, *several)
    assert code == 0
    found = [[int(part) for part in line.split(",")] for line in out.splitlines()]
    message = [{"role": "user", "content": QUESTION}]
    options: dict[str, Any] = {
        "do_sample": True, "temperature": 9, "seed": 1, "max_new_tokens": 8, "top_k": 0,
    }  # fmt: skip
    away = [{"role": "user", "content": "Spell the word CLOUD."}]
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        alike = model.generate_batch([message] * 3, **options)
        assert found == [each.result.ids for each in alike]
        assert len({tuple(each) for each in found}) > 1
        guided = model.generate(message, guidance_scale=3.0, negative_prompt=away)
    asked = ("--guidance-scale", "3", "--negative-prompt", "Spell the word CLOUD.")
    assert ids(capsys, demo_artifact, QUESTION, *asked) == guided.result.ids


def test_beams_of_the_command_and_of_the_file(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = [{"role": "user", "content": QUESTION}]
    options: dict[str, Any] = {
        "num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.5, "early_stopping": "never",
    }  # fmt: skip
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        found = model.generate(message, max_new_tokens=256, **options).sequences
    given = [
        part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)
    ]
    code, out, _ = run(capsys, "generate", demo_artifact, QUESTION, *given, "--format", "json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["ids"] for line in lines] == [each.result.ids for each in found]
    assert [line["score"] for line in lines] == [each.result.score for each in found]
    assert [line["text"] for line in lines] == [each.text for each in found]
    artifact = configured(demo_artifact, tmp_path / "a", {**options, "eos_token_id": [1, 2]})
    code, out, _ = run(capsys, "generate", artifact, QUESTION, "--format", "ids")
    assert code == 0
    assert [len(line.split(",")) for line in out.splitlines()]
    code, _, err = run(capsys, "chat", artifact)
    assert code == 2
    assert "num_beams is 3 for a stream, expected 1" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--length-penalty", "2"],
            "--length-penalty acts only in a search of beams",
        ),
        (
            ["--num-beams", "2", "--num-return-sequences", "3"],
            "num_return_sequences is 3, expected",
        ),
        (["--num-return-sequences", "2"], "num_return_sequences is 2, but greedy decoding has one"),
        (["--negative-prompt", "x"], "a negative prompt is given without guidance_scale"),
        (["--max-time", "-1"], "max_time is -1.0, expected a number above 0"),
        (["--presence-penalty", "nan"], "presence_penalty is nan, expected a finite number"),
        (["--typical-p", "0.5"], "--typical-p acts only when sampling"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_sentence(
    options: list[str], words: str, demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "generate", demo_artifact, QUESTION, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {words}")
