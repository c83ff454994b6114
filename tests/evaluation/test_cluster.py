"""``evaluate --ray`` and ``embed --ray``: the output of the same command without it.

Here Ray is tests/support/serve/local_ray.py; tests/serve/bulk/test_cluster.py has a cluster of its
own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="the extra ray")

from bitnet_onnx.cli.main import main
from tests.support.embedding.artifacts import embedding_artifact
from tests.support.evaluation.networks import TEXT
from tests.support.paths import ROOT
from tests.support.serve.local_ray import use_local_ray

TASKS = ROOT / "tests" / "support" / "evaluation" / "tasks"
CHOICES = [
    {"question": f"The {word} cat", "choices": [" sits", " sleeps", " adds 4 + 4"], "answer": n % 3}
    for n, word in enumerate(("grey", "white", "third", "grey and white"))
]


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    return use_local_ray(monkeypatch)


def printed(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    assert main([str(word) for word in command]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("ship", [[], ["--ship"]], ids=["shared", "shipped"])
@pytest.mark.parametrize("kind", ["text", "choices", "answers"])
def test_numbers_do_not_depend_on_the_place(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, ship: list[str]
) -> None:
    file = tmp_path / "asked"
    if kind == "text":
        file.write_text(TEXT, encoding="utf-8")
        options = ["--max-length", "24", "--stride", "10", "--against", tiny.artifact]
    else:
        lines = CHOICES if kind == "choices" else [c | {"answer": "e"} for c in CHOICES]
        file.write_text("\n".join(map(json.dumps, lines)))
        options = ["--batch-size", "3", "--max-new-tokens", "2"] if kind == "answers" else []
    command = ["evaluate", tiny.artifact, f"--{kind}-file", file, "--format", "json", *options]
    here = printed(capsys, *command, "--threads", "1")
    assert printed(capsys, *command, "--threads", "1", "--ray", "auto", *ship) == here


def test_tasks_do_not_depend_on_the_place(
    tiny: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    monkeypatch.chdir(TASKS)
    command = ["evaluate", tiny.artifact, "--threads", "1", "--include-path", TASKS]
    command += ["--tasks", "cats_choice,cats_text,cats_answer"]
    assert printed(capsys, *command, "--ray", "auto") == printed(capsys, *command)


def test_vectors_do_not_depend_on_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = embedding_artifact(tmp_path)
    texts = [f"{'word ' * (number % 5)}{number}" for number in range(20)]
    command = ["embed", artifact, *texts, "--batch-size", "3", "--threads", "1"]
    here = printed(capsys, *command)
    assert printed(capsys, *command, "--ray", "auto") == here
    assert printed(capsys, *command, "--ray", "auto", "--ship") == here
    assert main(["embed", str(artifact), "a " * 60, "--ray", "auto"]) == 2
    assert "text 0 has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--ship"], "--ship is given without --ray, expected both"),
        (["--ray", "nowhere"], "there is no Ray cluster at 'nowhere': Could not find any running"),
        (["--ray", "auto", "--threads", "2"], "no node of the cluster has 2 CPUs"),
        (["--ray", "auto", "CHECKPOINT"], "is not an artifact folder, expected one with --ray"),
    ],
)
def test_what_cannot_run_is_one_sentence(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], what: str
) -> None:
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    given = [str(tiny.checkpoint) if option == "CHECKPOINT" else option for option in options]
    command = ["evaluate", str(tiny.artifact), "--text-file", str(tmp_path / "text"), *given]
    assert main(command) == 2
    error, *hints = capsys.readouterr().err.splitlines()
    assert what in error
    assert len(hints) <= 1


def test_errors_of_nodes_are_said_as_they_are(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    command = ["evaluate", str(tiny.artifact), "--text-file", str(tmp_path / "text")]
    command += ["--ray", "auto", "--threads", "1"]
    import bitnet_onnx.cluster as cluster

    monkeypatch.setattr(cluster, "_shares", lambda threads: (1, 2))
    check = cluster._check
    monkeypatch.setattr(cluster, "_check", lambda place, _: check(place, "of another"))
    assert main(command) == 2
    assert "is another artifact on a node" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "_check", lambda place, _: check(tmp_path / "away", ""))
    assert main(command) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "a node has no folder" in error
    assert "--ship" in hint
    monkeypatch.setattr(cluster, "_check", lambda place, _: 1 // 0)
    assert main(command) == 2
    assert "the cluster failed, expected it to answer" in capsys.readouterr().err


def test_a_missing_ray_is_named(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    command = ["evaluate", str(tiny.artifact), "--text-file", str(tmp_path / "text")]
    assert main([*command, "--ray", "auto"]) == 2
    assert "bitnet-onnx[ray]" in capsys.readouterr().err
