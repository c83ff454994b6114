"""``bitnet-onnx bench``: measure an artifact on this machine."""

from __future__ import annotations

import argparse

from ..errors import GenerationError
from .common import add_artifact, add_format, print_json, say

HELP = "measure prefill, decode, load and memory"
DESCRIPTION = (
    "Measure prefill, decode, load and memory. Decoding is greedy; generation_config.json is not "
    "read."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3, help="medians are taken over this many runs")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="also print the time, bytes and share of each operator in a step after the prompt",
    )
    add_format(parser, "text", "json")


def run(args: argparse.Namespace) -> None:
    from ..artifact import Artifact
    from ..bench.breakdown import STEPS, breakdown, describe_breakdown
    from ..bench.measure import bench, describe

    if args.profile and args.max_new_tokens < STEPS + 1:
        raise GenerationError(
            f"--max-new-tokens is {args.max_new_tokens}, expected {STEPS + 1} or more with "
            "--profile"
        )
    result = bench(
        args.artifact,
        threads=args.threads,
        prompt_tokens=args.prompt_tokens,
        new_tokens=args.max_new_tokens,
        runs=args.runs,
        on_run=lambda done: say(f"run {done} of {args.runs} done"),
    )
    found = None
    if args.profile:
        artifact = Artifact.open(args.artifact)
        found = breakdown(artifact, threads=args.threads, context=args.prompt_tokens)
    if args.format == "json":
        profile = {} if found is None else {"profile": found.to_dict()}
        print_json({**result.to_dict(), **profile})
        return
    print(describe(result))
    if found is not None:
        print(f"\none step after {args.prompt_tokens} tokens, with ONNX Runtime's profiler")
        print(describe_breakdown(found, result.read_bandwidth))
