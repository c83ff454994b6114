"""The options of generation, which go before those of the artifact's generation_config.json."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import GenerationError
from ..common import say

if TYPE_CHECKING:
    from ...generation.config import GenerationConfig
    from ...generation.leases import SessionLike

__all__ = ["add_assistant", "add_generation", "assistant_of", "generation_config", "say_drafts"]

NAMES = (
    "max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram_size",
    "guidance_scale", "max_time", "seed", "prompt_lookup_num_tokens", "max_matching_ngram_size",
)  # fmt: skip
MORE = (  # of one command
    "num_return_sequences", "num_beams", "length_penalty", "early_stopping", "num_beam_groups",
    "diversity_penalty", "num_assistant_tokens",
)  # fmt: skip
NUMBERS: dict[str, tuple[type, str]] = {
    "--temperature": (
        float,
        "with --do-sample: divides the logits; default: 1; 0 is greedy, and needs no other option",
    ),
    "--top-k": (
        int,
        "with --do-sample: keep the k likeliest tokens; 0: all; default: 50",
    ),
    "--top-p": (
        float,
        "with --do-sample: keep the likeliest tokens whose probabilities reach p; default: 1, all",
    ),
    "--min-p": (
        float,
        "with --do-sample: keep tokens at least p times as likely as the likeliest; "
        "default: 0, all",
    ),
    "--typical-p": (
        float,
        "with --do-sample: keep tokens of typical surprise, up to a probability; default: 1, all",
    ),
    "--repetition-penalty": (
        float,
        "above 1: tokens that occurred are less likely; default: 1, off",
    ),
    "--presence-penalty": (
        float,
        "subtracted from the logit of each new token that occurred, as OpenAI does; default: 0",
    ),
    "--frequency-penalty": (
        float,
        "the same, times how often it occurred; default: 0",
    ),
    "--no-repeat-ngram-size": (
        int,
        "no sequence of this many tokens occurs twice; default: 0, off",
    ),
    "--guidance-scale": (
        float,
        "lead the answer away from that to the negative prompt, which is the prompt's last token "
        "where none is given; default: 1, off",
    ),
    "--max-time": (float, "begin no token after this many seconds; default: no limit"),
    "--prompt-lookup-num-tokens": (
        int,
        "look up at most this many drafts where the last tokens occurred before, and check them in "
        "one call: the same tokens, sooner in text that repeats; 0: none; default: 10 in a chat, "
        "and else none",
    ),
    "--max-matching-ngram-size": (
        int,
        "with --prompt-lookup-num-tokens: the longest sequence of last tokens that is looked up; "
        "default: 32",
    ),
    "--seed": (int, "with --do-sample: the same seed gives the same text"),
}


def add_generation(parser: argparse.ArgumentParser, max_new_tokens: int) -> None:
    """Add the options; without one, the artifact's generation_config.json decides."""
    parser.set_defaults(new_tokens=max_new_tokens)
    group = parser.add_argument_group(
        "generation",
        "names and meanings are those of transformers; the defaults are those of the artifact's "
        "generation_config.json, or else the ones below",
    )
    group.add_argument(
        "--ignore-generation-config",
        action="store_true",
        help="do not read the artifact's generation_config.json",
    )
    group.add_argument(
        "--max-new-tokens",
        type=int,
        help=f"end an answer after this many tokens; default: {max_new_tokens}",
    )
    group.add_argument("--do-sample", action="switch", help="sample; default: greedy")
    for name, (kind, meaning) in NUMBERS.items():
        group.add_argument(name, type=kind, help=meaning)
    group.add_argument(
        "--stop-string",
        "--stop-strings",
        action="append",
        metavar="TEXT",
        dest="stop_strings",
        help="a text that ends an answer; repeat the option for several",
    )


def add_assistant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--assistant",
        type=Path,
        metavar="ARTIFACT",
        help="the artifact of a smaller model with the same tokenizer, whose drafts are checked in "
        "one call: the same greedy tokens",
    )
    parser.add_argument(
        "--num-assistant-tokens",
        type=int,
        help="with --assistant: check at most this many drafts at a time; default: 20",
    )


def assistant_of(args: argparse.Namespace) -> Any:
    """Return the model of --assistant, and None without it."""
    from ...generation.config import GenerationConfig
    from ...generation.model import load

    if args.assistant is None:
        return None
    return load(args.assistant, threads=args.threads, generation_config=GenerationConfig())


def say_drafts(session: SessionLike, args: argparse.Namespace, config: GenerationConfig) -> None:
    """Tell where drafts are asked for and cannot be checked without changing tokens."""
    asked = bool(config.prompt_lookup_num_tokens) or args.assistant is not None
    if asked and not session.exact_in_groups:
        say(
            "note: no drafts are checked, since the logits of this artifact depend on the number of"
            " positions in a call"
        )


def generation_config(args: argparse.Namespace, folder: Path) -> GenerationConfig:
    """Return the artifact's options, changed by those of the command."""
    from ...generation.config import FILE, GenerationConfig

    config, without_effect = GenerationConfig(), list[str]()
    if not args.ignore_generation_config:
        config, without_effect = GenerationConfig.of_folder(folder)
    if without_effect:
        say(f"note: {FILE} holds {', '.join(without_effect)}, which have no effect")
    given = {name: getattr(args, name, None) for name in (*NAMES, *MORE)}
    changes = {name: value for name, value in given.items() if value is not None}
    if (early := changes.get("early_stopping")) is not None:
        changes["early_stopping"] = {"true": True, "false": False}.get(early, early)
    if args.stop_strings:
        changes["stop_strings"] = tuple(args.stop_strings)
    if config.samples and not {"do_sample", "temperature"} & set(changes):
        say(f"note: {FILE} asks for sampling; --no-do-sample takes the likeliest tokens")
    asked = replace(config, **changes)
    if idle := asked.idle_of_beams(changes):
        raise GenerationError(
            f"--{idle.replace('_', '-')} acts only with beams, expected --num-beams with it",
            hint="give bitnet-onnx generate --num-beams 4, too",
        )
    changes.pop("do_sample", None)
    if ignored := asked.ignored(changes):
        option = "--" + ignored.replace("_", "-")
        raise GenerationError(
            f"{option} acts only when sampling, expected --do-sample with it",
            hint="add --do-sample",
        )
    if unused := asked.idle(changes, args.assistant is not None):
        option, needed = ("--" + name.replace("_", "-").removesuffix("-model") for name in unused)
        raise GenerationError(f"{option} acts only on drafts, expected {needed} with it")
    if asked.max_new_tokens is None and asked.max_length is None:
        return replace(asked, max_new_tokens=args.new_tokens)
    return asked
