"""The engine for native apps computes what Python computes: ids, distributions, refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.exporter.export import export
from bitnet_onnx.files import sha256
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.generation.sampling import Sampler
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from mobile_demo.vectors import make
from tests.support.artifacts import configured
from tests.support.native.edge import Answer, answers, opened, program
from tests.support.paths import DEMO
from tests.support.questions import LIMIT, prompts, questions
from tests.support.questions import answers as python_answers

ASKED = int(os.environ.get("BITNET_EDGE_QUESTIONS", "60"))  # of 1,200; evenly over the file
VARIANTS = [
    *(("native", head, "float32") for head in ("bf16", "int8", "int6", "int4", "float32")),
    ("native", "two-step", "int8"),
    ("native", "two-step", "int4"),
    ("native", "two-step-int6", "float32"),
    ("native", "two-step-int4", "float16"),
    ("stock", "bf16", "float16"),
    ("stock", "float32", "float32"),
]
CONTEXT = 64  # of the artifact whose context is filled
STOP, LENGTH = 0, 2  # reasons of the end


@pytest.fixture(scope="module")
def asked() -> list[dict[str, str]]:
    found = questions()
    return found[:: len(found) // ASKED][:ASKED]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundled model with a context of CONTEXT."""
    folder = tmp_path_factory.mktemp("small") / "artifact"
    return export(DEMO, folder, context_length=CONTEXT, kv_cache="int8")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundled model with positions beyond those that it was trained for."""
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "long"
    shutil.copytree(DEMO, checkpoint)
    config = json.loads((DEMO / "config.json").read_text("utf-8"))
    (checkpoint / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return export(checkpoint, tmp_path_factory.mktemp("long") / "artifact")


def text_ids(folder: Path, count: int) -> list[int]:
    """Return so many ids of questions, one behind the other."""
    tokenizer = Tokenizer.from_folder(folder)
    text = " ".join(record["question"] for record in questions()[: count // 8])
    return tokenizer.encode(text)[:count]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_the_ids_are_pythons(
    variant: tuple[str, str, str], asked: list[dict[str, str]], tmp_path: Path
) -> None:
    target, head, cache = variant
    artifact = export(DEMO, tmp_path / "a", target=target, head=head, kv_cache=cache)
    with Session(artifact) as session:
        expected = python_answers(session, artifact, asked)
    given = prompts(Tokenizer.from_folder(artifact), asked)
    found = answers(artifact, given, max_new_tokens=LIMIT)
    assert [answer.ids for answer in found if isinstance(answer, Answer)] == expected
    # Each prompt begins as the one before it.
    assert all(answer.reused > 0 for answer in found[1:] if isinstance(answer, Answer))


@pytest.mark.parametrize("threads", [1, 2])
def test_long_prompts_in_chunks(long: Path, threads: int) -> None:
    """Prompts beyond a chunk of 256 and a block of 512, shorter ones after longer ones."""
    ids = text_ids(long, 1300)
    given = [ids[:257], ids[:1300], ids[:600] + ids[:100], ids[:1], ids[5:517], ids[:1025]]
    found = answers(long, given, max_new_tokens=40, threads=threads)
    config = GenerationConfig(max_new_tokens=40, eos_token_id=(1, 2))
    with Session(long) as session:
        expected = [generate(session, [prompt], config)[0].ids for prompt in given]
    assert [answer.ids for answer in found if isinstance(answer, Answer)] == expected
    assert [a.reused for a in found if isinstance(a, Answer)] == [0, 257, 600, 0, 0, 0]


def test_a_full_context_ends_as_in_python(small: Path) -> None:
    given = [text_ids(small, count) for count in (CONTEXT - 3, CONTEXT - 1, CONTEXT)]
    config = GenerationConfig(max_new_tokens=40, eos_token_id=())
    with Session(small) as session:
        expected = [generate(session, [prompt], config)[0].ids for prompt in given]
    folder = configured(small, small.parent / "endless", {"eos_token_id": []})
    found = answers(folder, given, max_new_tokens=40, when_full=0)
    assert [answer.ids for answer in found if isinstance(answer, Answer)] == expected
    assert all(a.finish == LENGTH and not a.shifts for a in found if isinstance(a, Answer))


def test_a_full_context_goes_on(small: Path) -> None:
    """As Python computes it when it is given the ids that stay."""
    folder = configured(small, small.parent / "goes on", {"eos_token_id": []})
    prompt, count = text_ids(small, 40), 150
    (found,) = answers(folder, [prompt], max_new_tokens=count)
    expected, shifts = list[int](), 0
    with Session(folder) as session:
        held, logits = list(prompt), session.prefill(prompt)
        while len(expected) < count:
            expected.append(int(np.argmax(logits)))
            held.append(expected[-1])
            if len(held) > CONTEXT:
                held = held[:4] + held[-(CONTEXT // 2) :]
                shifts += 1
                session.reset()
                logits = session.prefill(held)
            else:
                logits = session.decode(held[-1:])[0]
    assert isinstance(found, Answer)
    assert (found.ids, found.shifts) == (expected, shifts)
    assert shifts > 2


@pytest.mark.parametrize(
    "values",
    [
        {"eos_token_id": [45, 2]},
        {"eos_token_id": 299, "max_length": 30},
        {"max_length": 20, "max_new_tokens": 9, "eos_token_id": 299},
        {"repetition_penalty": 1.9, "max_new_tokens": 12, "temperature": 0.6},
        {"repetition_penalty": 0.5, "max_new_tokens": 12},
        {"do_sample": True, "temperature": 0, "max_new_tokens": 12},
        {"max_new_tokens": 4, "num_beams": 1, "chat_format": "x"},
    ],
    ids=str,
)
def test_generation_config_is_obeyed(
    demo_artifact: Path, tmp_path: Path, asked: list[dict[str, str]], values: dict[str, Any]
) -> None:
    folder = configured(demo_artifact, tmp_path / "a", values)
    tokenizer = Tokenizer.from_folder(folder)
    given = prompts(tokenizer, asked[:5])
    config = GenerationConfig.from_dict(values)
    if config.eos_token_id is None:
        config = config.changed(eos_token_id=tokenizer.eos_token_ids)
    with Session(folder) as session:
        expected = [generate(session, [prompt], config)[0].ids for prompt in given]
    found = answers(folder, given)
    assert [answer.ids for answer in found if isinstance(answer, Answer)] == expected


@pytest.mark.parametrize("head", ["bf16", "two-step"])
def test_a_seed_repeats_an_answer(head: str, tmp_path: Path, asked: list[dict[str, str]]) -> None:
    """Of two-step heads, the logits that are not among the 64 largest are minus infinity."""
    artifact = export(DEMO, tmp_path / "a", head=head)
    given = prompts(Tokenizer.from_folder(artifact), asked[:3])
    options = {"do_sample": 1, "temperature": 1.5, "top_k": 0, "max_new_tokens": 20}
    first = answers(artifact, given, seed=1, **options)
    again = answers(artifact, given, seed=1, **options)
    other = answers(artifact, given, seed=2, **options)
    assert first == again
    assert first != other
    assert all(isinstance(answer, Answer) for answer in first)


SAMPLING: list[dict[str, Any]] = [
    *make.SAMPLING,
    {"repetition_penalty": 0.7, "top_k": 0, "top_p": 0.99, "temperature": 0.8},
]


def test_the_distributions_are_pythons(tmp_path: Path) -> None:
    random, cases = np.random.default_rng(0), []
    for size, kept in ((5, 5), (300, 300), (3000, 3000), (3000, 64)):
        logits = (random.standard_normal(size) * 3).round(1).astype(np.float32)  # with equal ones
        logits[np.argsort(-logits, kind="stable")[kept:]] = -np.inf
        said = random.integers(0, size, 40).tolist()
        for params in SAMPLING:
            config = GenerationConfig(do_sample=True, **params)
            sampler = Sampler(config)
            sampler.observe(said)
            ids, probabilities = sampler.distribution(logits)
            names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
            case = {name: getattr(config, name) for name in names}
            case["logits"] = [float(x) if np.isfinite(x) else None for x in logits]
            case |= {"said": said, "ids": ids.tolist(), "probabilities": probabilities.tolist()}
            cases.append(case)
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases))
    done = subprocess.run([program("run_sampling_test"), path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_prompts_that_are_refused(small: Path) -> None:
    found = answers(small, [[], [0, 832], [-1], [1] * (CONTEXT + 1), [0, 5]], max_new_tokens=2)
    said = list(map(str, found))
    assert "error 1 the prompt has no ids" in said[0]
    assert "holds the id 832, expected 0 to 831" in said[1]
    assert "holds the id -1" in said[2]
    assert "error 5 the prompt has 65 tokens, expected at most the context of 64" in said[3]
    assert isinstance(found[4], Answer)


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"num_beams": 4}, 3, "num_beams is not implemented"),
        ({"top_p": 2}, 3, "top_p is 2, expected"),
        ({"suppress_tokens": [3]}, 3, "suppress_tokens is not implemented"),
    ],
)
def test_options_that_are_refused(
    demo_artifact: Path, tmp_path: Path, values: dict[str, Any], code: int, said: str
) -> None:
    folder = configured(demo_artifact, tmp_path / "a", values)
    exit_code, sentence = opened(folder)
    assert exit_code == 2
    assert sentence.startswith(f"error {code} {folder}")
    assert said in sentence


def test_options_of_sampling_are_refused_when_it_is_asked_for(
    demo_artifact: Path, tmp_path: Path, asked: list[dict[str, str]]
) -> None:
    folder = configured(demo_artifact, tmp_path / "a", {"typical_p": 0.5})
    given = prompts(Tokenizer.from_folder(folder), asked[:1])
    assert isinstance(answers(folder, given)[0], Answer)
    assert "typical_p is not implemented" in str(answers(folder, given, do_sample=1)[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 4),
        ("num_key_value_heads", 3),
        ("head_dim", 64),
        ("vocab_size", 831),
        ("kv_cache", "int8"),
        ("kv_cache", "int4"),
        ("kv_cache", "float16"),
        ("context_length", 16),
        ("context_length", 2147483647),
        ("head", "two-step"),
        ("head", "float32"),
        ("target", "stock"),
    ],
)
def test_a_manifest_of_another_graph(
    demo_artifact: Path, tmp_path: Path, field: str, value: int | str
) -> None:
    folder = linked(demo_artifact, tmp_path / "a", {field: value})
    code, said = opened(folder)
    assert code == 2
    assert said.startswith(f"error 2 {folder / 'manifest.json'}: ")
    assert field in said or "describes a cache" in said
    assert said.count("\n") == 1


def linked(artifact: Path, folder: Path, changes: dict[str, Any]) -> Path:
    """Link an artifact's files into a new folder, with other fields of the manifest."""
    folder.mkdir()
    for path in artifact.iterdir():
        if path.name != "manifest.json":
            (folder / path.name).symlink_to(path)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def test_damaged_files(demo_artifact: Path, tmp_path: Path) -> None:
    """A graph that is no graph, whatever the manifest says of it."""
    for place, bytes_ in enumerate([b"", b"\x08", b"not a graph", os.urandom(4000)]):
        folder = tmp_path / str(place)
        folder.mkdir()
        for path in demo_artifact.iterdir():
            if path.name not in ("manifest.json", "model.onnx"):
                (folder / path.name).symlink_to(path)
        (folder / "model.onnx").write_bytes(bytes_)
        manifest = json.loads((demo_artifact / "manifest.json").read_text("utf-8"))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        code, said = opened(folder)
        assert code == 2
        assert "expected" in said
        path = folder / "model.onnx"
        manifest["files"]["model.onnx"] = {"size": len(bytes_), "sha256": sha256(path)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        code, said = opened(folder)
        assert code == 2
        assert said.startswith("error ")


@pytest.mark.parametrize("kind", ["folder", "loop", "gone"])
def test_what_is_no_file_is_said_to_be_none(demo_artifact: Path, tmp_path: Path, kind: str) -> None:
    folder = linked(demo_artifact, tmp_path / "a", {})
    path = folder / "model.onnx_data"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    code, said = opened(folder)
    assert code == 2
    words = {"folder": "is not a file", "loop": "symbolic links", "gone": "does not exist"}[kind]
    assert str(path) in said
    assert words in said


def test_a_missing_runtime(demo_artifact: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [program("edge_answers"), demo_artifact, tmp_path / "none.so"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout.startswith(f"error 4 ONNX Runtime cannot be loaded from {tmp_path}/none.so")


def test_a_kernel_that_cannot_run(demo_artifact: Path) -> None:
    code, said = opened(demo_artifact, BITNET_ONNX_KERNEL="fast")
    assert code == 2
    assert "BITNET_ONNX_KERNEL is fast, expected one that this CPU can run: " in said
