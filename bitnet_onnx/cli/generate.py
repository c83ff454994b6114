"""``bitnet-onnx generate``: stream one prompt, or continue several as one batch."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import GenerationError
from .arguments.options import (
    add_assistant,
    add_generation,
    assistant_of,
    generation_config,
    say_drafts,
)
from .arguments.prompt_cache import PromptCache, add_prompt_cache, check_alone
from .arguments.template import add_template, template_options
from .common import (
    add_artifact,
    add_format,
    prompt_ids,
    say,
    say_speed,
)
from .progress import watched
from .streams import lines_of, read_stdin, text_of

if TYPE_CHECKING:
    from ..generation.loop import TokenStream
    from ..generation.rows import GenerationResult
    from ..generation.text import TextResult
    from ..text.tokenizer import Tokenizer

HELP = "continue one or more prompts"
DESCRIPTION = "Continue prompts. A chat model's prompt is put into its chat template."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument("prompt", nargs="?", help="the prompt; default or -: read stdin")
    parser.add_argument("--prompt-ids", metavar="1,2,3", help="a prompt as token ids")
    parser.add_argument(
        "--prompts-file", type=Path, help="a text file, one prompt a line, run as one batch"
    )
    parser.add_argument(
        "--ignore-chat-template", action="store_true", help="feed the plain prompt, after bos"
    )
    parser.add_argument(
        "--num-return-sequences",
        type=int,
        help="with --do-sample or --num-beams: answers for each prompt",
    )
    parser.add_argument(
        "--num-beams",
        type=int,
        help="search for the likeliest answer with this many sequences; default: 1, no search",
    )
    parser.add_argument(
        "--length-penalty",
        type=float,
        help="with --num-beams: above 0 prefers long answers; default: 1",
    )
    parser.add_argument(
        "--early-stopping",
        choices=("true", "false", "never"),
        help="with --num-beams: end the search with that many answers (true), when no better one "
        "is likely (false, the default) or possible (never)",
    )
    parser.add_argument(
        "--num-beam-groups",
        type=int,
        help="with --num-beams: groups of beams that avoid each other's tokens; default: 1",
    )
    parser.add_argument(
        "--diversity-penalty",
        type=float,
        help="with --num-beam-groups: how strongly they avoid them",
    )
    parser.add_argument(
        "--negative-prompt", metavar="TEXT", help="what --guidance-scale leads away from"
    )
    add_prompt_cache(parser, "the prompt")
    _add_structured(parser)
    add_assistant(parser)
    add_format(parser, "text", "ids", "json")
    add_template(parser)
    add_generation(parser, max_new_tokens=256)


def _add_structured(parser: argparse.ArgumentParser) -> None:
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


def _structured(args: argparse.Namespace) -> dict[str, Any] | None:
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


def _note_cut(results: list[TextResult]) -> None:
    """Say where an answer ended before its form was complete."""
    if any(done.result.finish_reason in ("length", "time") for done in results):
        say("note: an answer ended at its limit and may be incomplete; see --max-new-tokens")


def run(args: argparse.Namespace) -> None:
    from ..artifact import TASK, Artifact
    from ..generation.extras import Extras
    from ..generation.loop import generate, stream
    from ..generation.text import TextResult, generate_text, text_stream
    from ..runtime.session import Session
    from ..text.tokenizer import Tokenizer

    artifact = Artifact.open(args.artifact).of_task(TASK)
    needs_text = args.prompt_ids is None or args.format != "ids"
    has_text = (artifact.folder / "tokenizer.json").exists()
    tokenizer = Tokenizer.from_folder(artifact.folder) if needs_text or has_text else None
    prompts = _prompts(args, tokenizer)
    config = generation_config(args, artifact.folder)
    check_alone(args.prompt_cache, len(prompts), config)
    extras = Extras(
        negative_prompt_ids=_negative(args, tokenizer),
        structured_outputs=(form := _structured(args)),
        assistant_model=assistant_of(args),
    )
    if tokenizer is None and config.stop_strings:  # they are found in text
        tokenizer = Tokenizer.from_folder(artifact.folder)
    with Session(artifact, threads=args.threads) as opened:
        cache, session = PromptCache(opened, args.prompt_cache), watched(opened)
        say_drafts(session, args, config)
        if tokenizer is None:
            if args.prompt_cache is None:
                results = generate(session, prompts, config, extras)
            else:
                results = [_finished(stream(session, prompts[0], config, extras))]
                cache.keep(len(prompts[0]))
            _print(args.format, [TextResult("", result) for result in results])
            say_speed(results[0])
            return
        if len(prompts) > 1 or config.num_return_sequences > 1 or config.num_beams > 1:
            answers = generate_text(session, tokenizer, prompts, config, extras)
            _print(args.format, answers)
            if form:
                _note_cut(answers)
            return
        answer = text_stream(session, tokenizer, prompts[0], config, extras)
        for piece in answer:
            if args.format == "text":
                print(piece, end="", flush=True)
        answers = [TextResult(answer.text, answer.result)]
        _print(args.format, answers, streamed=True)
        if form:
            _note_cut(answers)
        say_speed(answer.result)
        cache.keep(len(prompts[0]))


def _finished(answer: TokenStream) -> GenerationResult:
    for _ in answer:
        pass
    return answer.result


def _prompts(args: argparse.Namespace, tokenizer: Tokenizer | None) -> list[list[int]]:
    given = [args.prompt is not None, args.prompt_ids is not None, args.prompts_file is not None]
    if sum(given) > 1:
        raise GenerationError(
            "several kinds of prompts are given, expected one of: a prompt, --prompt-ids, "
            "--prompts-file"
        )
    options = template_options(args)
    plain = args.ignore_chat_template or tokenizer is None or not tokenizer.has_chat_template
    if options and (plain or args.prompt_ids is not None):
        raise GenerationError(
            "--tools, --documents or --template-variable are given for a prompt without a chat"
            " template, expected a prompt that is put into one"
        )
    if args.prompt_ids is not None:
        return [prompt_ids(args.prompt_ids)]
    if args.prompts_file is not None:
        texts = lines_of(args.prompts_file)
    else:
        texts = [_typed() if args.prompt in (None, "-") else args.prompt]
    if not texts or not all(text.strip() for text in texts):
        raise GenerationError("the prompt is empty, expected some text")
    return [_encoded(args, tokenizer, text) for text in texts]


def _negative(args: argparse.Namespace, tokenizer: Tokenizer | None) -> list[int] | None:
    """Return the ids of the negative prompt, which is encoded like the prompt."""
    if args.negative_prompt is None:
        return None
    if tokenizer is None:
        raise GenerationError("--negative-prompt is given for an artifact without a tokenizer")
    return _encoded(args, tokenizer, args.negative_prompt)


def _encoded(args: argparse.Namespace, tokenizer: Tokenizer | None, text: str) -> list[int]:
    assert tokenizer is not None
    if args.ignore_chat_template or args.prompt_ids is not None or not tokenizer.has_chat_template:
        return tokenizer.encode(text)
    return tokenizer.encode_chat([{"role": "user", "content": text}], **template_options(args))


def _typed() -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        say("type the prompt; Ctrl-D ends it")
    return read_stdin()


def _print(form: str, results: list[TextResult], streamed: bool = False) -> None:
    for done in results:
        if form == "ids":
            print(",".join(map(str, done.result.ids)))
        elif form == "json":
            record: dict[str, Any] = {
                "text": done.text,
                "ids": done.result.ids,
                "finish_reason": done.result.finish_reason,
                "prompt_tokens": done.result.prompt_tokens,
            }
            if done.result.score is not None:
                record["score"] = done.result.score
            # In another encoding than UTF-8, JSON's own escapes hold every character.
            print(json.dumps(record, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"))
        else:
            print("" if streamed else done.text)
