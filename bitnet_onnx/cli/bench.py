"""``bitnet-onnx bench``: measure an artifact on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import GenerationError
from .common import add_artifact, add_format, print_json, say

if TYPE_CHECKING:
    from ..artifact import Artifact

HELP = "measure prefill, decode, load and memory"
DESCRIPTION = (
    "Measure prefill, decode, load and memory, or texts a second of an artifact that embeds them. "
    "Decoding is greedy; generation_config.json is not read."
)
NEW_TOKENS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument(
        "--prompt-tokens", type=int, default=128, help="or tokens of each text that is embedded"
    )
    parser.add_argument("--max-new-tokens", type=int, help="default: 64")
    parser.add_argument("--runs", type=int, default=3, help="medians are taken over this many runs")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="also print the time, bytes and share of each operator in a step after the prompt",
    )
    add_format(parser, "text", "json")


def run(args: argparse.Namespace) -> None:
    from ..artifact import EMBEDDING, Artifact
    from ..bench.breakdown import STEPS, breakdown, describe_breakdown
    from ..bench.measure import bench, describe

    opened = Artifact.open(args.artifact)
    if opened.manifest["task"] == EMBEDDING:
        _of_texts(args, opened)
        return
    new_tokens = NEW_TOKENS if args.max_new_tokens is None else args.max_new_tokens
    if args.profile and new_tokens < STEPS + 1:
        raise GenerationError(
            f"--max-new-tokens is {new_tokens}, expected {STEPS + 1} or more with --profile"
        )
    result = bench(
        args.artifact,
        threads=args.threads,
        prompt_tokens=args.prompt_tokens,
        new_tokens=new_tokens,
        runs=args.runs,
        on_run=lambda done: say(f"run {done} of {args.runs} done"),
    )
    found = None
    if args.profile:
        found = breakdown(opened, threads=args.threads, context=args.prompt_tokens)
    if args.format == "json":
        profile = {} if found is None else {"profile": found.to_dict()}
        print_json({**result.to_dict(), **profile})
        return
    print(describe(result))
    if found is not None:
        print(f"\none step after {args.prompt_tokens} tokens, with ONNX Runtime's profiler")
        print(describe_breakdown(found, result.read_bandwidth))


def _of_texts(args: argparse.Namespace, artifact: Artifact) -> None:
    from ..bench.embedding import bench_embedding, describe_embedding

    for name in ("max_new_tokens", "profile"):
        value = getattr(args, name)
        if value is not None and value is not False:
            option = f"--{name.replace('_', '-')}"
            raise GenerationError(
                f"{option} is given, but {artifact.folder} embeds texts, expected it of an "
                "artifact for text-generation",
                hint=f"leave {option} out",
            )
    result = bench_embedding(
        artifact,
        threads=args.threads,
        text_tokens=args.prompt_tokens,
        runs=args.runs,
        on_run=lambda done: say(f"run {done} of {args.runs} done"),
    )
    if args.format == "json":
        print_json(result.to_dict())
    else:
        print(describe_embedding(result))
