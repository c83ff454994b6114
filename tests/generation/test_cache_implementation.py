"""cache_implementation names the cache of a session: it is obeyed, or refused by its name."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx import load
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.cache.kinds import CACHES
from bitnet_onnx.runtime.session import Session
from tests.support.artifacts import configured

QUESTION = "Spell STONE."


def test_every_name_of_transformers_is_obeyed_or_refused_by_name() -> None:
    utils = pytest.importorskip("transformers.generation.configuration_utils")
    obeyed = {name: name for name in CACHES} | {"dynamic_full": "dynamic", "hybrid": "dynamic"}
    for name, kind in obeyed.items():
        assert GenerationConfig(cache_implementation=name).cache_implementation == kind
    others = {*utils.ALL_CACHE_IMPLEMENTATIONS, "paged"} - obeyed.keys()
    assert others >= {"quantized", "paged", "hybrid_chunked"}
    for name in others:
        error = refused(name)
        assert str(error).startswith(f"cache_implementation is {name!r}, expected one of: dynamic")
        assert error.hint
    assert "--kv-cache" in str(refused("quantized").hint)


def refused(value: Any) -> GenerationError:
    with pytest.raises(GenerationError, match="cache_implementation is") as caught:
        GenerationConfig(cache_implementation=value)
    return caught.value


@pytest.mark.parametrize("value", [3, True, ["static"], "Static", ""], ids=str)
def test_another_value_is_refused(value: Any) -> None:
    assert repr(value) in str(refused(value))


def test_load_obeys_the_file_and_an_argument_goes_before_it(
    demo_artifact: Path, tmp_path: Path
) -> None:
    file = {"cache_implementation": "offloaded", "max_new_tokens": 5}
    artifact = configured(demo_artifact, tmp_path / "a", file)
    for options, kind in (
        ({}, "offloaded"),
        ({"cache": "static"}, "static"),
        ({"generation_config": GenerationConfig(cache_implementation="hybrid")}, "dynamic"),
        ({"generation_config": GenerationConfig()}, "dynamic"),
    ):
        with load(artifact, threads=1, **options) as model:
            assert model.session.cache_implementation == kind
            assert model.generate(QUESTION).result.ids
            assert "".join(model.chat().send(QUESTION))


def test_a_session_with_another_cache_refuses_it_with_the_way_to_open_one(
    demo_artifact: Path,
) -> None:
    words = "cache_implementation is 'static' for a session with the cache 'dynamic'"
    with load(demo_artifact, threads=1) as model:
        calls: tuple[Any, ...] = (model.generate, model.stream, model.chat().send)
        for call in calls:
            with pytest.raises(GenerationError, match=words) as caught:
                list(call(QUESTION, cache_implementation="static"))
            assert caught.value.hint == "open a session that has it: load(artifact, cache='static')"
        assert model.generate(QUESTION, cache_implementation="dynamic").result.ids
    config = GenerationConfig(cache_implementation="static", max_new_tokens=2)
    with Session(demo_artifact, threads=1, cache="static") as session:
        assert generate(session, [[1, 2]], config)[0].ids


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(list(map(str, arguments)))
    return code, *capsys.readouterr()


def test_the_commands_obey_it(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kinds, opened = list[str](), Session.__init__

    def noted(session: Session, *arguments: Any, **options: Any) -> None:
        kinds.append(f"{options.get('cache')} {options.get('cache_dir')}")
        opened(session, *arguments, **options)

    monkeypatch.setattr(Session, "__init__", noted)
    artifact = configured(demo_artifact, tmp_path / "a", {"cache_implementation": "static"})
    folder = tmp_path / "room"
    folder.mkdir()
    given = ["--cache", "offloaded", "--cache-dir", folder]
    for options in ([], given, ["--ignore-generation-config"]):
        assert run(capsys, "generate", artifact, QUESTION, *options)[:2] == (0, "S-T-O-N-E\n")
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
        assert run(capsys, "chat", artifact, *options)[:2] == (0, "S-T-O-N-E\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\n"))
    assert run(capsys, "chat", artifact, "--context-shift")[0] == 0
    assert kinds == [
        *["static None"] * 2, *[f"offloaded {folder}"] * 2, *["dynamic None"] * 2, "sink None",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cache", "quantized"], "cache_implementation is 'quantized', expected one of"),
        (["--cache", "sliding_window"], "cache is 'sliding_window', but no layer of the network"),
        (["--cache-dir", "x"], "cache_dir is 'x' for a dynamic cache, expected an offloaded cache"),
        (["--cache", "sink", "--prompt-cache", "f"], "--prompt-cache is given with the cache 'si"),
        (["--cache", "static", "--context-shift"], "--cache static is given with --context-shift"),
    ],
    ids=str,
)
def test_the_commands_refuse_what_they_cannot_obey(
    options: list[str], words: str, demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "chat", demo_artifact, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {words}")
