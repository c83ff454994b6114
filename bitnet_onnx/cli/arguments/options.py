"""The options of generation, which go before those of the artifact's generation_config.json."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import GenerationError
from ..common import say
from ..streams import text_of

if TYPE_CHECKING:
    from ...generation.config import GenerationConfig
    from ...generation.leases import SessionLike
    from ...generation.rows import GenerationResult

__all__ = ["add_assistant", "add_generation", "add_structured", "assistant_of", "cache_of",
           "generation_config", "note_cut", "say_drafts", "structured_of"]  # fmt: skip

NAMES = (
    "max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram_size",
    "guidance_scale", "max_time", "seed", "prompt_lookup_num_tokens", "max_matching_ngram_size",
    "cache_implementation",
    "penalty_alpha", "dola_layers",
)  # fmt: skip
MORE = (  # of one command
    "num_return_sequences", "num_beams", "length_penalty", "early_stopping", "num_beam_groups",
    "diversity_penalty", "num_assistant_tokens", "assistant_early_exit",
)  # fmt: skip
# How a value of an option is written here, where it is another one than in Python.
VALUES = {"do_sample": "", "assistant_model": "ARTIFACT"}
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
    "--penalty-alpha": (
        float,
        "contrastive search: of the --top-k likeliest tokens take one that is unlike what was "
        "before, the more so the nearer to 1; needs an artifact with hidden states; default: 0",
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
        "with --prompt-lookup-num-tokens: look up the first place of this many last tokens at "
        "most, as transformers does; default: follow a text past its changes",
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
    _add_cache(group)
    group.add_argument(
        "--dola-layers",
        type=_layers,
        metavar="LAYERS",
        help="DoLa: take tokens that the last layer finds likelier than an early one did, which is "
        "of the low or the high half, or one of these, as 0,2,4; needs an artifact with hidden "
        "states; transformers recommends a --repetition-penalty of 1.2 with it",
    )
    group.add_argument(
        "--stop-string",
        "--stop-strings",
        action="append",
        metavar="TEXT",
        dest="stop_strings",
        help="a text that ends an answer; repeat the option for several",
    )


def _add_cache(group: Any) -> None:
    group.add_argument(
        "--cache",
        metavar="KIND",
        dest="cache_implementation",
        help="where keys and values lie: dynamic, static (all room at the start), offloaded or "
        "offloaded_static (in a file), sliding_window (only what the network's windows see), or "
        "sink (the context never ends); default: dynamic",
    )
    group.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="with --cache offloaded: the folder of its temporary files; default: the system's",
    )


def _layers(text: str) -> str | tuple[int, ...]:
    parts = text.split(",")
    return tuple(map(int, parts)) if all(part.strip().isdecimal() for part in parts) else text


def add_assistant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--assistant",
        type=Path,
        metavar="ARTIFACT",
        help="the artifact of a smaller model, whose drafts are checked in one call: the same "
        "greedy tokens; its tokenizer may be another one",
    )
    parser.add_argument(
        "--assistant-early-exit",
        type=int,
        metavar="LAYERS",
        help="draft with so many of the network's first layers, in the place of --assistant",
    )
    parser.add_argument(
        "--num-assistant-tokens",
        type=int,
        help="with --assistant or --assistant-early-exit: check at most this many drafts at a "
        "time; default: 20",
    )


def add_structured(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "structured output",
        "the form of the answer, one of these; needs the extra bitnet-onnx[structured]",
    )
    group.add_argument(
        "--json-schema", type=Path, metavar="FILE", help="a JSON document that this schema allows"
    )
    group.add_argument("--regex", help="a text that this regular expression matches as a whole")
    group.add_argument(
        "--grammar", type=Path, metavar="FILE", help="a text of this Lark grammar's rule start"
    )
    group.add_argument(
        "--choices", nargs="+", action="extend", metavar="TEXT", help="one of these texts"
    )


def structured_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return structured_outputs of the options; several are refused by name."""
    given = {
        "--json-schema": ("json", args.json_schema),
        "--regex": ("regex", args.regex),
        "--grammar": ("grammar", args.grammar),
        "--choices": ("choice", args.choices),
    }
    found = {option: pair for option, pair in given.items() if pair[1] is not None}
    if len(found) > 1:
        raise GenerationError(f"{' and '.join(found)} are given, expected one of them")
    return {name: text_of(v) if isinstance(v, Path) else v for name, v in found.values()} or None


def note_cut(form: object, *results: GenerationResult) -> None:
    """Say where an answer of a form ended before its form was complete."""
    if form and any(result.finish_reason in ("length", "time") for result in results):
        say("note: an answer ended at its limit and may be incomplete; see --max-new-tokens")


def assistant_of(args: argparse.Namespace) -> Any:
    """Return the model of --assistant, and None without it."""
    from ...generation.config import GenerationConfig
    from ...generation.model import load

    if args.assistant is None:
        return None
    return load(args.assistant, threads=args.threads, generation_config=GenerationConfig())


def say_drafts(session: SessionLike, args: argparse.Namespace, config: GenerationConfig) -> None:
    """Tell where drafts are asked for and cannot be checked without changing tokens."""
    from ...generation.strategies.speculation import most_drafts

    early, lookup = config.assistant_early_exit, config.prompt_lookup_num_tokens
    asked = bool(lookup) or early is not None or args.assistant is not None
    if asked and not session.exact_for(most_drafts(config) + 1):
        say(
            "note: no drafts are checked, since the logits of this artifact depend on the number of"
            " positions in a call"
        )


def cache_of(args: argparse.Namespace, config: GenerationConfig) -> dict[str, Any]:
    """Return the options of a session with the cache that is asked for."""
    return {"cache": config.cache_implementation or "dynamic", "cache_dir": args.cache_dir}


def _option(name: str) -> str:
    """Return an option of the command by its name in Python."""
    return "--" + name.removesuffix("_model").replace("_", "-")


def generation_config(args: argparse.Namespace, folder: Path) -> GenerationConfig:
    """Return the artifact's options, changed by those of the command."""
    from ...generation.config import FILE, GenerationConfig
    from ...generation.idle import unmet

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
    changes.pop("do_sample", None)  # --no-do-sample makes no option of sampling act
    if found := unmet(asked, changes, args.assistant is not None):
        name, need = found
        option, needed = (_option(each) for each in (name, need.needed))
        raise GenerationError(
            f"{option} acts only {need.acts}, expected {needed} with it",
            hint=f"add {needed} {VALUES.get(need.needed, need.value)}".rstrip(),
        )
    if asked.idle_alpha(changes):
        raise GenerationError(
            "--penalty-alpha acts only in greedy decoding, expected neither --do-sample nor"
            " --num-beams, and --top-k of at least 2, with it",
            hint="add --no-do-sample where the file asks for sampling",
        )
    if asked.max_new_tokens is None and asked.max_length is None:
        return replace(asked, max_new_tokens=args.new_tokens)
    return asked
