"""Arguments that several commands share, their meaning, and output to stdout and stderr."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, GenerationError

if TYPE_CHECKING:
    from ..generation.rows import GenerationResult
    from ..weights.checkpoint.base import Checkpoint

__all__ = [
    "DEMO",
    "add_artifact",
    "add_checkpoint",
    "add_format",
    "add_leniency",
    "add_output",
    "add_reading",
    "check_least",
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
    add_reading(parser)


def add_reading(parser: argparse._ActionsContainer) -> None:
    """Add the options of how a checkpoint is read."""
    parser.add_argument("--revision", help="branch, tag or commit on the Hub; default: main")
    parser.add_argument(
        "--i2s-layout",
        choices=("x86", "arm"),
        default="x86",
        help="the CPU on which a GGUF file's I2_S tensors were made; default: x86, as published",
    )
    add_leniency(parser)


def add_leniency(parser: argparse._ActionsContainer) -> None:
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


def opened_checkpoint(args: argparse.Namespace, source: str | None = None) -> Checkpoint:
    """Open ``source``, or the checkpoint that the command names; print what is assumed of it."""
    from ..weights.open import open_checkpoint

    checkpoint = open_checkpoint(
        args.checkpoint if source is None else source,
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
    parser.add_argument("-o", "--output", type=_output, required=True, help=f"{what} to make")


def _output(text: str) -> Path:
    """Return a path; raise ConfigError for what other programs take for stdout."""
    if text == "-":
        raise ConfigError(
            "--output is '-', expected a path: this command does not write its result to stdout",
            hint="name a file or folder; ./- is the one with that name",
        )
    return Path(text)


def add_format(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add ``--format``, the form of the output on stdout; the first form is the default."""
    parser.add_argument(
        "--format", choices=formats, default=formats[0], help=f"default: {formats[0]}"
    )


def prompt_ids(text: str) -> list[int]:
    """Parse ids like ``1,2,3``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise GenerationError(f"--prompt-ids is {text!r}, expected ids like 1,2,3") from None


def check_least(args: argparse.Namespace, least: int, *names: str) -> None:
    """Raise ConfigError for an option that is given and smaller."""
    for name in names:
        if (value := getattr(args, name)) is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}, expected at least {least}")


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
