"""The options of evaluate: what is measured, and what belongs to it; others are refused."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import ConfigError
from ..common import add_format, add_reading
from .cluster import THREADS, add_cluster

__all__ = ["NEW_TOKENS", "add_evaluation", "measured"]

# What is measured, and the options that belong to it beside --threads and --format.
KINDS = {
    "text_file": ("max_length", "stride", "against"),
    "choices_file": ("target_delimiter", "apply_chat_template"),
    "answers_file": ("apply_chat_template", "max_new_tokens", "stop_strings", "batch_size"),
    "tasks": (
        "include_path", "num_fewshot", "limit", "apply_chat_template", "batch_size",
        "ignore_generation_config",
    ),
}  # fmt: skip
READING = ("revision", "i2s_layout", "ignore_key", "allow_degenerate")  # of checkpoints
NEW_TOKENS = 64


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Add all options of the command."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a folder made by: bitnet-onnx export; or a checkpoint, which torch computes",
    )
    parser.add_argument("--threads", type=int, default=0, help=THREADS)
    add_format(parser, "text", "json")
    kinds = parser.add_argument_group("what is measured", "one of these")
    kinds.add_argument("--text-file", type=Path, metavar="FILE", help="perplexity over a text file")
    kinds.add_argument(
        "--choices-file",
        type=Path,
        metavar="FILE",
        help='accuracy over JSON lines {"question": text, "choices": [texts], "answer": place}',
    )
    kinds.add_argument(
        "--answers-file",
        type=Path,
        metavar="FILE",
        help='exact match over JSON lines {"question": text, "answer": text or texts}',
    )
    kinds.add_argument("--tasks", metavar="NAME,...", help="tasks of lm-evaluation-harness")
    _add_perplexity(parser)
    _add_questions(parser)
    _add_tasks(parser)
    reading = parser.add_argument_group("checkpoints", "how they are read")
    add_reading(reading)
    add_cluster(parser)


def _add_perplexity(parser: argparse.ArgumentParser) -> None:
    text = parser.add_argument_group("perplexity", "names are those of transformers' guide")
    text.add_argument("--max-length", type=int, help="tokens of a window; default: the context")
    text.add_argument(
        "--stride",
        type=int,
        help="tokens from one window to the next; default: 512, or max_length where that is less",
    )
    text.add_argument(
        "--against",
        metavar="MODEL",
        help="the exact artifact or checkpoint: also measure the KL divergence from it, and how "
        "often the likeliest token is the same",
    )


def _add_questions(parser: argparse.ArgumentParser) -> None:
    asked = parser.add_argument_group("questions", "of files, and partly of tasks")
    asked.add_argument(
        "--apply-chat-template",
        action="store_true",
        help="a question is a user's message in the chat template",
    )
    asked.add_argument(
        "--target-delimiter",
        metavar="TEXT",
        help="with --choices-file: the text before a choice; default: a blank, and nothing with "
        "--apply-chat-template",
    )
    asked.add_argument(
        "--max-new-tokens", type=int, help=f"end an answer after this many; default: {NEW_TOKENS}"
    )
    asked.add_argument(
        "--stop-string",
        action="append",
        metavar="TEXT",
        dest="stop_strings",
        help="a text that ends an answer; repeat the option for several",
    )
    asked.add_argument(
        "--batch-size", type=int, help="answers that are generated together; default: 8"
    )


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_argument_group("tasks", "names are those of lm_eval")
    tasks.add_argument("--include-path", type=Path, metavar="DIR", help="further tasks, as YAML")
    tasks.add_argument("--num-fewshot", type=int, help="examples before each question")
    tasks.add_argument("--limit", type=int, help="use the first questions of each task only")
    tasks.add_argument(
        "--ignore-generation-config",
        action="store_true",
        help="do not read the artifact's generation_config.json",
    )


def measured(args: argparse.Namespace) -> str:
    """Return which of KINDS is asked for; refuse several, and options of another."""
    given = [kind for kind in KINDS if getattr(args, kind) is not None]
    if len(given) != 1:
        found = " and ".join(map(_option, given)) if given else "nothing to measure"
        *others, last = map(_option, KINDS)
        raise ConfigError(f"{found} is given, expected one of {', '.join(others)} and {last}")
    allowed = KINDS[given[0]]
    for name in sorted({name for names in KINDS.values() for name in names} - set(allowed)):
        if not any(getattr(args, name) is unset for unset in (None, False)):
            raise ConfigError(
                f"{_option(name)} is given with {_option(given[0])}, expected it with "
                f"{' or '.join(_option(kind) for kind, names in KINDS.items() if name in names)}"
            )
    _check_reading(args)
    return given[0]


def _option(name: str) -> str:
    return "--stop-string" if name == "stop_strings" else f"--{name.replace('_', '-')}"


def _check_reading(args: argparse.Namespace) -> None:
    """Refuse checkpoints with --ray, and their options where all models are artifacts."""
    from ...evaluation.models import is_artifact

    names = [*args.models, *([] if args.against is None else [args.against])]
    for name in names if args.ray is not None else ():
        if not is_artifact(name):
            raise ConfigError(
                f"{name} is not an artifact folder, expected one with --ray",
                hint="make one with: bitnet-onnx export CHECKPOINT -o ARTIFACT",
            )
    for name in READING:
        if getattr(args, name) not in (None, False, [], "x86") and all(map(is_artifact, names)):
            raise ConfigError(
                f"{_option(name)} is given with {' and '.join(names)}, expected it with a "
                "checkpoint, which none of them is"
            )
