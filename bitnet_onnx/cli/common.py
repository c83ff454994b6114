"""Arguments that several commands share, their meaning, and output to stdout and stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import GenerationError

if TYPE_CHECKING:
    from ..generation.config import GenerationConfig
    from ..generation.loop import GenerationResult
    from ..weights.checkpoint.base import Checkpoint

__all__ = [
    "DEMO",
    "add_artifact",
    "add_checkpoint",
    "add_format",
    "add_generation",
    "add_leniency",
    "add_output",
    "generation_config",
    "lines_of",
    "opened_checkpoint",
    "print_json",
    "prompt_ids",
    "say",
    "say_speed",
]

DEMO = Path(__file__).parent.parent / "demo"  # the bundled model


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        help="a folder with config.json and safetensors, a .gguf file, or a Hugging Face Hub id "
        "org/name",
    )
    parser.add_argument("--revision", help="branch, tag or commit on the Hub; default: main")
    parser.add_argument(
        "--i2s-layout",
        choices=("x86", "arm"),
        default="x86",
        help="the CPU on which a GGUF file's I2_S tensors were made; default: x86, as published",
    )
    add_leniency(parser)


def add_leniency(parser: argparse.ArgumentParser) -> None:
    """Add the options that take what a checkpoint is refused for."""
    parser.add_argument(
        "--ignore-key",
        metavar="NAME",
        action="append",
        default=[],
        help="ignore a key of config.json or of a GGUF file that is refused because it can change "
        "the network; may be repeated",
    )
    parser.add_argument(
        "--allow-degenerate",
        action="store_true",
        help="take tensors that only damaged files have: all zero, all one code, equal rows",
    )


def opened_checkpoint(args: argparse.Namespace) -> Checkpoint:
    """Open the checkpoint that the command names; print the assumptions about it to stderr."""
    from ..weights.open import open_checkpoint

    checkpoint = open_checkpoint(
        args.checkpoint,
        revision=args.revision,
        i2s_layout=args.i2s_layout,
        ignore_keys=args.ignore_key,
        allow_degenerate=args.allow_degenerate,
    )
    for note in checkpoint.notes:
        say(f"note: {note}")
    return checkpoint


def add_artifact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, help="a folder made by: bitnet-onnx export")
    parser.add_argument("--threads", type=int, default=0, help="default: one per core")


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help=f"{what} to make")


def add_format(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add ``--format``, the form of the output on stdout; the first form is the default."""
    parser.add_argument(
        "--format", choices=formats, default=formats[0], help=f"default: {formats[0]}"
    )


def add_generation(parser: argparse.ArgumentParser, max_new_tokens: int) -> None:
    group = parser.add_argument_group("generation", "names and meanings are those of transformers")
    group.add_argument(
        "--max-new-tokens",
        type=int,
        default=max_new_tokens,
        help=f"end an answer after this many tokens; default: {max_new_tokens}",
    )
    group.add_argument("--do-sample", action="store_true", help="sample; default: greedy")
    group.add_argument(
        "--temperature", type=float, default=1.0, help="divides the logits; default: 1"
    )
    group.add_argument(
        "--top-k", type=int, default=50, help="keep the k likeliest tokens; 0: all; default: 50"
    )
    group.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        help="keep the likeliest tokens whose probabilities reach p; default: 1, all",
    )
    group.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        help="keep tokens at least p times as likely as the likeliest; default: 0, all",
    )
    group.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        help="above 1: tokens that occurred are less likely; default: 1, off",
    )
    group.add_argument("--seed", type=int, help="the same seed gives the same text")
    group.add_argument(
        "--stop-strings", nargs="+", default=[], metavar="TEXT", help="texts that end an answer"
    )


def generation_config(args: argparse.Namespace) -> GenerationConfig:
    """Return the options that ``add_generation`` added."""
    from ..generation.config import GenerationConfig

    return GenerationConfig(
        max_new_tokens=args.max_new_tokens,
        do_sample=args.do_sample,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        seed=args.seed,
        stop_strings=tuple(args.stop_strings),
    )


def prompt_ids(text: str) -> list[int]:
    """Parse ids like ``1,2,3``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise GenerationError(f"--prompt-ids is {text!r}, expected ids like 1,2,3") from None


def lines_of(path: Path) -> list[str]:
    """Return the lines of a prompts file that are not blank."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GenerationError(f"{path} cannot be read: {error}") from error
    return [line for line in lines if line.strip()]


def lines_of_stdin() -> Iterator[str]:
    """Yield lines as they come, with a prompt sign where a person types them."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def say(text: str) -> None:
    print(text, file=sys.stderr)


def say_speed(result: GenerationResult) -> None:
    new = len(result.ids)
    decode = f"{(new - 1) / result.decode_seconds:.0f} tokens/s" if new > 1 else "one token"
    fed = result.prompt_tokens - result.cached_tokens
    prefill = fed / result.prefill_seconds if result.prefill_seconds else 0.0
    say(f"     {new} tokens, decode {decode}, prefill {fed} tokens at {prefill:.0f} tokens/s")
