"""lm-evaluation-harness over an artifact: the numbers of its own Hugging Face model.

Its tasks are in tests/support/evaluation/tasks, and nothing is fetched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

lm_eval = pytest.importorskip("lm_eval")
pytest.importorskip("datasets")

from lm_eval.api.registry import get_model  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402
from lm_eval.utils import make_table  # noqa: E402

from bitnet_onnx.cli.main import main  # noqa: E402
from bitnet_onnx.errors import BitNetError, ConfigError, GenerationError  # noqa: E402
from bitnet_onnx.evaluation.lm_eval import BitNetLM  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402

TASKS = ROOT / "tests" / "support" / "evaluation" / "tasks"
NAMES = ["cats_choice", "cats_text", "cats_last", "cats_answer"]


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the data sets out of the home folder; the tasks name files of their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)  # it asks pip, for seconds
        patch.chdir(TASKS)
        yield


@pytest.fixture(scope="module")
def manager() -> Any:
    return TaskManager(include_path=str(TASKS), include_defaults=False)


class Request(NamedTuple):
    args: tuple[Any, ...]


def evaluated(network: Any, manager: Any, **options: Any) -> Any:
    return lm_eval.simple_evaluate(
        network, tasks=NAMES, task_manager=manager, bootstrap_iters=0, **options
    )


@pytest.fixture(scope="module")
def theirs(tiny: Any) -> Any:
    return get_model("hf")(
        pretrained=str(tiny.checkpoint), dtype="float32", device="cpu", batch_size=1
    )


@pytest.fixture(scope="module")
def ours(tiny: Any) -> Any:
    return get_model("bitnet-onnx")(artifact=str(tiny.artifact), threads=1, batch_size=3)


@pytest.mark.parametrize("chat", [False, True])
def test_the_numbers_are_those_of_the_harness_own_model(
    ours: Any, theirs: Any, manager: Any, chat: bool
) -> None:
    found, expected = (
        evaluated(network, manager, apply_chat_template=chat) for network in (ours, theirs)
    )
    assert make_table(found) == make_table(expected)
    for name in NAMES:
        for one, other in zip(found["samples"][name], expected["samples"][name], strict=True):
            assert one["arguments"] == other["arguments"]
            if name == "cats_answer":
                assert one["resps"] == other["resps"]
                continue
            for (mine, *more), (its, *rest) in zip(one["resps"], other["resps"], strict=True):
                first, second = (x if isinstance(x, float) else x[0] for x in (mine, its))
                assert first == pytest.approx(second, rel=1e-6)
                assert more == rest
    assert found["config"]["model_sha"] == ours.model.session.artifact.fingerprint


def test_requests_of_any_kind_are_answered_alike(ours: Any, theirs: Any) -> None:
    pairs = [("", "cats"), (" ", "cats"), ("The miller ", "keeps"), ("<s>The", " cat"), ("a", " ")]
    pairs += [("The miller keeps three cats. " * 12, "One is grey.")]
    requests = [Request(pair) for pair in pairs]
    for mine, its in zip(*(m.loglikelihood(requests) for m in (ours, theirs)), strict=True):
        assert mine[0] == pytest.approx(its[0], rel=1e-6)
        assert mine[1] == its[1]
    options: list[dict[str, Any]] = [
        {"until": "e", "max_gen_toks": 20},
        {"until": [], "max_new_tokens": 9, "do_sample": False, "temperature": 0.7},
        {"until": ["\n"], "max_gen_toks": 80},
        {"max_gen_toks": 5, "repetition_penalty": 1.5},
    ]
    contexts = ["The", "<s>The grey cat", "The miller keeps three cats. " * 6]
    requests = [Request((context, kind)) for kind in options for context in contexts]
    assert ours.generate_until(requests) == theirs.generate_until(requests)


def test_chats_are_rendered_alike(ours: Any, theirs: Any) -> None:
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "How many cats? "}]
    assert ours.apply_chat_template(chat) == theirs.apply_chat_template(chat)
    for begun in ("Three", "Three ", "  Three  "):
        whole = [*chat, {"role": "assistant", "content": begun}]
        found = ours.apply_chat_template(whole, add_generation_prompt=False)
        assert found == theirs.apply_chat_template(whole, add_generation_prompt=False)
    assert ours.chat_template(True) == theirs.chat_template(True)
    assert ours.chat_template(False) is None
    with pytest.raises(ConfigError, match="the chat template 'x' is asked for"):
        ours.chat_template("x")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"dtype": "float16"}, "the model argument dtype is unknown, expected artifact, threads"),
        ({"batch_size": 0}, "batch_size is 0, expected 1 or more"),
        ({"batch_size": "x"}, "batch_size is 'x', expected an integer"),
        ({"max_length": 97}, "max_length is 97, expected 2 to the context of 96"),
        ({"max_length": 1}, "max_length is 1, expected 2"),
        ({"artifact": "no-such-folder"}, "no-such-folder is not an artifact folder"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(
    tiny: Any, options: dict[str, Any], what: str
) -> None:
    with pytest.raises(BitNetError, match=what):
        BitNetLM(**{"artifact": tiny.artifact, "threads": 1} | options)


def test_arguments_of_a_model_go_before_the_options_of_the_command(demo_artifact: Path) -> None:
    """The command passes a batch size of 1 where none was asked for."""
    of_command = {"batch_size": 1, "max_batch_size": None, "device": "cpu"}
    arguments = {"artifact": str(demo_artifact), "threads": 1, "batch_size": 5}
    text = ",".join(f"{name}={value}" for name, value in arguments.items())
    assert BitNetLM.create_from_arg_string(text, of_command).batch_size == 5
    assert BitNetLM.create_from_arg_obj(arguments, of_command).batch_size == 5
    del arguments["batch_size"]
    assert BitNetLM.create_from_arg_obj(arguments, of_command).batch_size == 1
    with pytest.raises(ConfigError, match="the model argument artifact is missing"):
        BitNetLM.create_from_arg_string("threads=1", of_command)


def test_batch_sizes_and_the_harness_own_words_are_taken(ours: Any) -> None:
    sizes = {("auto", None): 8, ("auto:4", 3): 3, (None, None): 8, ("5", None): 5, (2, 1): 2}
    for (given, most), expected in sizes.items():
        made = BitNetLM(ours.model, batch_size=given, max_batch_size=most, device="cuda:0")
        assert made.batch_size == expected
    with pytest.raises(GenerationError, match="max_gen_toks is 96, expected less than the context"):
        ours.generate_until([Request(("a", {"max_gen_toks": 96}))])
    with pytest.raises(GenerationError, match="colour"):
        ours.generate_until([Request(("a", {"max_gen_toks": 2, "colour": "red"}))])


def test_the_command_runs_tasks(tiny: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", str(tiny.artifact), "--threads", "1", "--include-path", str(TASKS)]
    asked += ["--limit", "2", "--num-fewshot", "1", "--tasks", "cats_choice,cats_text"]
    assert main(asked) == 0
    table = capsys.readouterr().out
    assert main([*asked, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert make_table(report).rstrip() == table.rstrip()
    assert report["n-samples"]["cats_choice"]["effective"] == 2
    assert (report["n-shot"]["cats_choice"], report["n-shot"]["cats_text"]) == (1, 1)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--tasks", "no_such_task"], "lm_eval cannot run the tasks no_such_task: Spec"),
        (["--tasks", "cats_text,"], "--tasks is 'cats_text,', expected names with commas"),
        (["--tasks", "cats_text", "--limit", "0"], "limit is 0, expected 1 or more"),
        (["--tasks", "cats_text", "--num-fewshot", "-1"], "num_fewshot is -1, expected 0 or more"),
        (["--tasks", "cats_text", "--batch-size", "0"], "batch_size is 0, expected 1 or more"),
        (["--tasks", "cats_text", "CHECKPOINT"], "expected one artifact folder"),
    ],
)
def test_tasks_that_cannot_run_are_one_sentence(
    tiny: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    what: str,
) -> None:
    monkeypatch.setattr("bitnet_onnx.evaluation.harness._manager", own_tasks)
    asked = [str(tiny.checkpoint) if option == "CHECKPOINT" else option for option in options]
    asked = ["evaluate", str(tiny.artifact), "--include-path", str(TASKS), *asked]
    assert main(asked) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "it/s" not in line]
    assert errors[0].startswith("error: ")
    assert what in errors[0]
    assert len(errors) <= 2


def own_tasks(_: Any, include_path: Path) -> Any:
    """Return a manager without the harness's own tasks, whose index takes seconds to read."""
    return TaskManager(include_path=str(include_path), include_defaults=False)


def test_the_harness_own_command_knows_the_model() -> None:
    """Beside its own models, which a registry that is not empty would hide."""
    code = (
        "import bitnet_onnx.evaluation.lm_eval as own, lm_eval.api.registry as registry\n"
        "print(registry.get_model('bitnet-onnx') is own.BitNetLM, 'hf' in registry.model_registry)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_missing_harness_is_named(
    tiny: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bitnet_onnx.evaluation.lm_eval")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main(["evaluate", str(tiny.artifact), "--tasks", "cats_text"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "tasks need the package lm_eval, which is not installed" in error
    assert "bitnet-onnx[evaluate]" in hint
