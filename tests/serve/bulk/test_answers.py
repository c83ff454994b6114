"""``bitnet-onnx batch`` with models: answers are the server's, and those of ``generate``."""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra server")
pytest.importorskip("prometheus_client", reason="the extra server")

import bitnet_onnx
from bitnet_onnx.cli.main import main
from bitnet_onnx.embedding.model import EmbeddingModel
from bitnet_onnx.generation.model import Model
from tests.support.embedding import networks
from tests.support.embedding.texts import write_tokenizer
from tests.support.paths import ROOT
from tests.support.serve.bulk import read, request

CHATS = ["What is 2 + 3?", "What is 27 + 5?", "What is the capital of France?"]


@pytest.fixture(scope="module")
def embedding_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedding")
    body, stored = networks.random_body("qwen3", head_dim=16)
    checkpoint = networks.save_body(folder / "checkpoint", body, stored)
    networks.write_modules(checkpoint, "mean_tokens", max_seq_length=48)
    write_tokenizer(checkpoint)
    return bitnet_onnx.export(checkpoint, folder / "artifact")


def chat(name: str, content: str, **fields: Any) -> bytes:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 6, **fields}
    return request(name, url="/v1/chat/completions", body=body)


TWICE = '{"prompt": "a", "n": 1, "n": 2}'


def run(artifact: Any, source: Path, target: Path, *options: str) -> int:
    return main(["batch", str(artifact), str(source), "-o", str(target), "--threads=1", *options])


def test_answers_are_those_of_generate_and_errors_those_of_the_server(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(
        b"".join(chat(content, content, model="tiny") for content in CHATS)
        + request("text", "Once")
        + request("many", body={"prompt": ["Once", "upon"], "max_tokens": 2, "n": 2})
        + chat("hot", "a", temperature=9)
        + chat("unknown", "a", model="gpt-4")
        + request("embed", url="/v1/embeddings", body={"input": "a"})
        + request("field", body={"prompt": "a", "suffix": "b"})
        + b"bad\n"
        # As bytes of a line it is allowed; written with escapes it is longer.
        + request("wide", body={"prompt": "a", "user": "WIDE"}).replace(
            b"WIDE", "漢".encode() * 1_500_000
        )
    )
    assert run(f"tiny={demo_artifact}", source, target) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"total": 11, "completed": 6, "failed": 5}
    assert "11 of 11 lines, 5 errors" in said.err
    found = {answer["custom_id"]: answer for answer in read(target)}
    with bitnet_onnx.load(demo_artifact, threads=1) as model:
        assert isinstance(model, Model)
        for content in CHATS:
            alone = model.generate([{"role": "user", "content": content}], max_new_tokens=6)
            answer = found[content]["response"]
            assert answer["status_code"] == 200
            assert answer["body"]["choices"][0]["message"]["content"] == alone.text
            assert answer["body"]["object"] == "chat.completion"
        alone = model.generate("Once", max_new_tokens=2)
        assert found["text"]["response"]["body"]["choices"][0]["text"] == alone.text
    assert len(found["many"]["response"]["body"]["choices"]) == 4
    for name, status in (("hot", 400), ("unknown", 404), ("embed", 404), ("field", 400)):
        assert found[name]["response"]["status_code"] == status
        assert found[name]["response"]["body"]["error"]["message"]
        assert found[name]["error"] is None
    assert found["wide"]["response"]["status_code"] == 200
    assert found[None]["response"] is None
    assert found[None]["error"]["code"] == "invalid_json"
    before = target.read_bytes()
    assert run(f"tiny={demo_artifact}", source, target) == 1
    assert "11 of 11 lines are answered already" in capsys.readouterr().err
    assert target.read_bytes() == before


def test_vectors_are_those_of_embed(
    embedding_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those of several lines are computed together."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    calls: list[int] = []
    embed = EmbeddingModel.embed

    def counted(model: EmbeddingModel, given: Any, *options: Any) -> Any:
        calls.append(len(given))
        return embed(model, given, *options)

    monkeypatch.setattr(EmbeddingModel, "embed", counted)
    texts = [f"{'word ' * (number % 7)}{number}" for number in range(40)]
    source.write_bytes(b"".join(request(t, url="/v1/embeddings", body={"input": t}) for t in texts))
    assert run(embedding_artifact, source, target) == 0
    assert sum(calls) == len(texts)
    assert max(calls) > 1
    with bitnet_onnx.load(embedding_artifact, threads=1) as model:
        assert isinstance(model, EmbeddingModel)
        for answer in read(target):
            (vector,) = answer["response"]["body"]["data"]
            alone = model.embed([answer["custom_id"]])[0]
            np.testing.assert_array_equal(np.float32(vector["embedding"]), alone)


def test_the_example_is_answered(demo_artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    assert run(f"demo={demo_artifact}", ROOT / "examples" / "requests.jsonl", target) == 0
    said = {
        answer["custom_id"]: answer["response"]["body"]["choices"][0] for answer in read(target)
    }
    assert said["sum"]["message"]["content"] == "32"
    assert said["reverse"]["message"]["content"] == "TNIAP"
    assert said["text"]["text"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--rows=0"], "--rows is 0"),
        (["--context=0"], "--context is 0"),
        (["--ship"], "--ship is given without --ray"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: list[str], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl", *options) == 2
    assert capsys.readouterr().err.startswith(f"error: {found}")
    assert not list(tmp_path.iterdir())


def test_tables_are_read_and_written(demo_artifact: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [json.loads(chat(content, content)) for content in CHATS]
    lines[0]["body"] |= {"temperature": 0.0, "stop": ["!"]}
    texts = [{**line, "body": json.dumps(line["body"])} for line in lines]
    # As in a file of lines: nothing is left out or read by halves.
    deep = '{"prompt":' + "[" * 5000 + "]" * 5000 + "}"
    wrong_texts = [{**lines[0], "custom_id": body, "body": body} for body in (deep, TWICE, "{")]
    tables = []
    for number, rows in enumerate((lines, texts + wrong_texts, [{**lines[0], "more": 1}])):
        source, target = tmp_path / f"{number}.in.parquet", tmp_path / f"{number}.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows), source)
        assert run(demo_artifact, source, target) == int(number > 0)
        tables.append({row["custom_id"]: row for row in parquet.read_table(target).to_pylist()})
    assert {path.suffix for path in tmp_path.iterdir()} == {".parquet"}, "nothing is left over"
    structs, strings, wrong = tables
    for content in CHATS:
        one, other = (json.loads(t[content]["body"])["choices"] for t in (structs, strings))
        assert one == other
        assert structs[content]["status_code"] == 200
        assert structs[content]["error"] is None
    for each in wrong_texts:
        assert json.loads(strings[each["body"]]["error"])["code"] == "invalid_value"
    assert json.loads(wrong[CHATS[0]]["error"])["code"] == "unknown_parameter"
    new = tmp_path / "new.parquet"
    for value in (b"bytes", datetime.now(), Decimal("1.5")):  # JSON has none of them
        parquet.write_table(pyarrow.table({"custom_id": ["a"], "body": [value]}), source)
        assert run(demo_artifact, source, new) == 2
    source.write_bytes(b"text")
    assert run(demo_artifact, source, new) == 2
    assert run(demo_artifact, source, target) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_whole_answers(
    demo_artifact: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Requests in work are neither answered with an error nor asked again."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    body = {"prompt": "Once", "max_tokens": 100, "ignore_eos": True}
    source.write_bytes(b"".join(request(f"r{i}", body=body) for i in range(2000)))

    def send() -> None:
        while not target.exists() or not target.stat().st_size:
            threading.Event().wait(0.01)
        os.kill(os.getpid(), number)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        ended = run(demo_artifact, source, target)
    except SystemExit as error:
        ended = error.code  # type: ignore[assignment]
    sending.join()
    assert ended == code
    answers = read(target)
    assert 0 < len(answers) < 1000
    assert {answer["response"]["status_code"] for answer in answers} == {200}
