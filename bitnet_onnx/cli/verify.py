"""``bitnet-onnx verify``: print a table of comparisons; exit code 1 when one disagrees."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .common import (
    add_checkpoint,
    add_format,
    opened_checkpoint,
    print_json,
    prompt_ids,
    say,
)
from .streams import lines_of

if TYPE_CHECKING:
    from ..artifact import Artifact
    from ..verification.compare import Comparison
    from ..verification.embedding import VectorComparison
    from ..verification.result import Compared

HELP = "compare an artifact with a torch reference"
DESCRIPTION = (
    "Compare logits and greedy ids, or the vectors of texts, of a torch reference and the "
    "artifact, once as they are and once with rounding ties of the activation quantizer resolved "
    "the same way; generation_config.json is not read. The exit code is 1 when they disagree."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("artifact", type=Path, help="a folder made by: bitnet-onnx export")
    parser.add_argument(
        "--against",
        default="torch",
        help="torch: this package's reference (default); transformers: its own class and loader",
    )
    parser.add_argument(
        "--prompt-ids", metavar="1,2,3", action="append", help="default: three random prompts"
    )
    parser.add_argument("--prompts-file", type=Path, help="a text file, one plain prompt a line")
    parser.add_argument(
        "--max-new-tokens", type=int, help="steps after each prompt; default: 64, if they fit"
    )
    add_format(parser, "text", "json")


def run(args: argparse.Namespace) -> int:
    from ..artifact import EMBEDDING, Artifact
    from ..text.tokenizer import Tokenizer
    from ..verification.compare import bound_of, verify

    artifact = Artifact.open(args.artifact)
    embeds = artifact.manifest["task"] == EMBEDDING
    prompts = [prompt_ids(text) for text in args.prompt_ids or []]
    if args.prompts_file is not None:
        tokenizer = Tokenizer.from_folder(artifact.folder)
        encode = tokenizer.encode_whole if embeds else tokenizer.encode
        prompts += [encode(line) for line in lines_of(args.prompts_file)]
    if embeds:
        return _verify_vectors(args, artifact, prompts)
    results = verify(
        opened_checkpoint(args),
        artifact,
        prompts or None,
        args.max_new_tokens,
        against=args.against,
        progress=sys.stderr.isatty(),
    )
    _say_of_head(artifact.head)
    if artifact.linears in ("bf16", "int8"):
        say(f"the reference's linears are rounded to {artifact.linears} like the artifact's")
    return _report(args, "prompts", results, partial(_print, results, bound=bound_of(artifact)))


def _report(
    args: argparse.Namespace, kind: str, results: Sequence[Compared], show: Callable[[bool], None]
) -> int:
    """Print the results, as JSON under ``kind`` or by ``show``; return the exit code."""
    agree = all(result.agrees for result in results)
    if args.format == "json":
        report = {"against": args.against, "agree": agree}
        print_json({**report, kind: [result.to_dict() for result in results]})
    else:
        show(agree)
    return 0 if agree else 1


def _verify_vectors(args: argparse.Namespace, artifact: Artifact, texts: list[list[int]]) -> int:
    from ..verification.compare import bound_of
    from ..verification.embedding import verify_embedding

    if args.max_new_tokens is not None:
        raise ConfigError(
            f"--max-new-tokens is given, but {artifact.folder} embeds texts",
            hint="leave --max-new-tokens out",
        )
    checkpoint = opened_checkpoint(args)
    results = verify_embedding(checkpoint, artifact, texts or None, against=args.against)
    show = partial(_print_vectors, results, bound=bound_of(artifact))
    return _report(args, "texts", results, show)


def _print_vectors(results: list[VectorComparison], agree: bool, bound: float) -> None:
    print("             as it is               ties resolved")
    print("tokens     cosine  vectors differ  vectors differ  ties")
    for r in results:
        print(
            f"{len(r.text):>6}  {r.cosine_as_is:>9.7f}  {r.difference_as_is:>14.1e}  "
            f"{r.difference_resolved:>14.1e}  {r.ties:>4}"
        )
    if agree:
        print(
            f"agree: with rounding ties resolved, vectors within {bound:g} of their largest number"
        )
        return
    print(f"disagree: with ties resolved, vectors differ by more than {bound:g}")
    _print_first(results, "after the layers")


def _print_first(results: Sequence[Compared], elsewhere: str) -> None:
    first = next((r.first_difference for r in results if r.first_difference), None)
    print(f"the first difference is {f'at the input of {first}' if first else elsewhere}")


def _say_of_head(head: str) -> None:
    from ..verification.reference import ROUNDED

    if head in ROUNDED:
        say(f"the reference's head table is rounded to {head} like the artifact's")
    if head.startswith("two-step"):
        bound = "statistical" if head == "two-step-int4" else "proven"
        say(f"the 64 largest logits are compared directly, others beyond the scan's {bound} bound")


def _print(results: list[Comparison], agree: bool, bound: float) -> None:
    print("                              as it is              ties resolved")
    print("prompt tokens  steps  same ids  logits differ  same ids  logits differ  ties")
    for r in results:
        print(
            f"{len(r.prompt):>13}  {r.steps:>5}  {r.same_ids_as_is:>8}  "
            f"{r.difference_as_is:>13.1e}  {r.same_ids_resolved:>8}  "
            f"{r.difference_resolved:>13.1e}  {r.ties:>4}"
        )
    if agree:
        print(f"agree: with rounding ties resolved, same ids and logits within {bound:g}")
        if other := sum(r.steps - r.same_ids_as_is for r in results):
            print(f"as it is, ties alone change the id of {other} steps")
        return
    print(f"disagree: with ties resolved, an id differs or logits differ by more than {bound:g}")
    _print_first(results, "in the head")
