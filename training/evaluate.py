"""Measure exact match on held-out questions, by kind, with the torch model.

Knows the model and the tokenizer; does not know training. An answer is right when its stripped text
is equal.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.weights.open import open_checkpoint
from training import data
from training import tokenizer as tok

BATCH = 64


@torch.no_grad()
def answer(
    model: BitNetForCausalLM, tokenizer: Tokenizer, questions: Sequence[str], limit: int = 16
) -> list[str]:
    """Return greedy answers; padding is on the right, so that causal attention never sees it."""
    rows = [tokenizer.encode(tok.prompt(question)).ids for question in questions]
    starts = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(starts.max()) + limit), tok.PAD_ID)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    every, done = torch.arange(len(rows)), torch.zeros(len(rows), dtype=torch.bool)
    for step in range(limit):
        logits = model(ids[:, : int(starts.max()) + step]).logits
        token = logits[every, starts + step - 1].argmax(dim=-1)
        ids[every, starts + step] = torch.where(done, tok.PAD_ID, token)
        done |= (token == tok.EOT_ID) | (token == tok.END_OF_TEXT_ID)
        if done.all():
            break
    return [
        tokenizer.decode(row[start:].tolist()).strip()
        for row, start in zip(ids, starts, strict=True)
    ]


def accuracy(
    model: BitNetForCausalLM,
    tokenizer: Tokenizer,
    examples: Sequence[data.Example],
    wrong: list[tuple[data.Example, str]] | None = None,
) -> dict[str, float]:
    """Return the share of exact answers of "all" and of each kind; add the others to ``wrong``."""
    training = model.training
    model.eval()
    right, total = defaultdict[str, int](int), defaultdict[str, int](int)
    ordered = sorted(examples, key=lambda example: len(example.question))
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        for example, found in zip(
            batch, answer(model, tokenizer, [e.question for e in batch]), strict=True
        ):
            for kind in ("all", example.kind):
                total[kind] += 1
                right[kind] += found == example.answer
            if found != example.answer and wrong is not None:
                wrong.append((example, found))
    model.train(training)
    return {kind: right[kind] / total[kind] for kind in ("all", *data.KINDS) if total[kind]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", default=Path("bitnet_onnx/demo"))
    parser.add_argument("--heldout", type=int, default=1200, metavar="N")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--show", type=int, default=10, metavar="N", help="wrong answers to print")
    args = parser.parse_args()
    model = BitNetForCausalLM.from_checkpoint(open_checkpoint(args.checkpoint))
    tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
    wrong: list[tuple[data.Example, str]] = []
    examples = data.held_out(args.heldout, args.seed)
    for kind, share in accuracy(model, tokenizer, examples, wrong).items():
        count = sum(kind in ("all", example.kind) for example in examples)
        print(f"{kind:<12}{share:8.2%}  of {count}")
    for example, found in wrong[: args.show]:
        print(f"  {example.kind}: {example.question} -> {found!r}, expected {example.answer!r}")


if __name__ == "__main__":
    main()
