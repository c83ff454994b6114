"""Measure ways to draft on one artifact: the same greedy ids, how many drafts are kept, how fast.

``python -m benchmarks.drafts ARTIFACT PROMPTS --way lookup --way exit:24 --way ASSISTANT`` reads
prompts, one a line, as first messages of chats, and prints a JSON object for each way. ``--first``
and ``--count`` take some of the prompts, so that a run can be split; ``--table FILE`` adds up the
lines of such runs. Seconds are those of whole calls, in turns with calls without drafts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

COUNTED = ("prompts", "same", "new", "drafted", "accepted", "seconds", "plain_seconds")


def options(way: str, threads: int) -> dict[str, Any]:
    """Return the options of a way: ``lookup``, ``exit:LAYERS`` or the artifact of an assistant."""
    from bitnet_onnx.generation.model import load

    kind, _, layers = way.partition(":")
    if kind == "lookup":
        return {"prompt_lookup_num_tokens": int(layers or 10)}
    if kind == "exit":
        return {"assistant_early_exit": int(layers)}
    return {"assistant_model": load(way, threads=threads)}


def measured(model: Any, prompts: Sequence[str], given: dict[str, Any], new: int) -> dict[str, Any]:
    """Return the sums of calls with drafts and without, prompt by prompt."""
    found: dict[str, Any] = dict.fromkeys(COUNTED, 0)
    for prompt in prompts:
        chat = [{"role": "user", "content": prompt}]
        texts = []
        for seconds, drafts in (("plain_seconds", {}), ("seconds", given)):
            start = perf_counter()
            result = model.generate(chat, do_sample=False, max_new_tokens=new, **drafts).result
            found[seconds] += perf_counter() - start
            texts.append(result.ids)
        found["prompts"] += 1
        found["same"] += texts[0] == texts[1]
        found["new"] += len(result.ids)
        found["drafted"] += result.drafted_tokens
        found["accepted"] += result.accepted_tokens
    return found


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return Markdown: a row for each way, with the sums of its lines."""
    rows = [
        "| drafts | same ids | accepted of drafted | tokens/s | without drafts |",
        "|---|---:|---:|---:|---:|",
    ]
    for way in dict.fromkeys(line["way"] for line in lines):
        own = [line for line in lines if line["way"] == way]
        s = {name: sum(line[name] for line in own) for name in COUNTED}
        share = f"{100 * s['accepted'] / s['drafted']:.0f} %" if s["drafted"] else "none"
        rows.append(
            f"| {way} | {s['same']} of {s['prompts']} | {share} of {s['drafted']} |"
            f" {s['new'] / s['seconds']:.1f} | {s['new'] / s['plain_seconds']:.1f} |"
        )
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("artifact", nargs="?")
    parser.add_argument("prompts", type=Path, nargs="?")
    parser.add_argument("--way", action="append", default=[])
    parser.add_argument("--schedule", choices=("constant", "heuristic"))
    parser.add_argument("--drafts", type=int, help="num_assistant_tokens")
    parser.add_argument("--new", type=int, default=32, help="tokens after each prompt")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, help="a file of lines that earlier runs printed")
    args = parser.parse_args(arguments)
    if args.table is not None:
        print(table([json.loads(line) for line in args.table.read_text("utf-8").splitlines()]))
        return
    from bitnet_onnx.generation.model import load

    end = None if args.count is None else args.first + args.count
    prompts = args.prompts.read_text("utf-8").splitlines()[args.first : end]
    model = load(args.artifact, threads=args.threads)
    for way in args.way:
        given = options(way, args.threads)
        if args.schedule is not None:
            given["num_assistant_tokens_schedule"] = args.schedule
        if args.drafts is not None and not way.startswith("lookup"):
            given["num_assistant_tokens"] = args.drafts
        name = f"{way} {args.schedule or 'as pays'}"
        print(json.dumps({"way": name} | measured(model, prompts, given, args.new)), flush=True)


if __name__ == "__main__":
    main()
