"""The bundled model's held-out questions, and a session's answers to them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.paths import DEMO
from training.data import KINDS

COMPARED = 300  # questions, evenly over the kinds
BATCH = 30
LIMIT = 32  # new tokens; the longest answer is shorter


def questions() -> list[dict[str, str]]:
    return [json.loads(line) for line in (DEMO / "questions.jsonl").read_text("utf-8").splitlines()]


def compared() -> list[dict[str, str]]:
    """Return the same number of questions of every kind, or all where a kind has fewer."""
    counts, taken = Counter[str](), []
    for record in questions():
        counts[record["kind"]] += 1
        if counts[record["kind"]] <= COMPARED // len(KINDS):
            taken.append(record)
    return taken


def prompts(tokenizer: Tokenizer, records: list[dict[str, str]]) -> list[list[int]]:
    return [
        tokenizer.encode_chat([{"role": "user", "content": record["question"]}])
        for record in records
    ]


def answers(session: Session, folder: Path | str, records: list[dict[str, str]]) -> list[list[int]]:
    """Answer each question by greedy ids, in batches of BATCH."""
    tokenizer = Tokenizer.from_folder(folder)
    ids: list[list[int]] = []
    for start in range(0, len(records), BATCH):
        batch = prompts(tokenizer, records[start : start + BATCH])
        done = generate(
            session,
            batch,
            GenerationConfig(max_new_tokens=LIMIT, eos_token_id=tokenizer.eos_token_ids),
        )
        ids += [result.ids for result in done]
    return ids
