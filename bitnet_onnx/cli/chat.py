"""``bitnet-onnx chat``: chat in the terminal; the cache is kept from turn to turn."""

from __future__ import annotations

import argparse
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BitNetError, GenerationError, TokenizerError
from .arguments.options import (
    add_assistant,
    add_generation,
    assistant_of,
    generation_config,
    say_drafts,
)
from .arguments.prompt_cache import PromptCache, add_prompt_cache, check_alone
from .arguments.template import add_template, template_options
from .common import add_artifact, say, say_speed
from .conversation.saved import load_chat, save_chat
from .conversation.terminal import is_interactive, messages
from .progress import watched

if TYPE_CHECKING:
    from ..artifact import Artifact
    from ..generation.chat import Chat
    from ..generation.config import GenerationConfig
    from ..generation.model import Model
    from ..text.tokenizer import Tokenizer

HELP = "chat with a model in the terminal"
DESCRIPTION = (
    "Chat with a model in the terminal, or answer each line of stdin. /help lists commands."
)
COMMANDS = """\
/help       this list
/reset      forget the conversation; the system prompt stays
/save FILE  write the conversation to a new file
/load FILE  go on with a conversation that was saved
/exit       end; so does Ctrl-D. Ctrl-C stops an answer, or ends at the prompt
//TEXT      send /TEXT
A paste of several lines is one message."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument("--system", help="the system prompt; default: none")
    add_prompt_cache(parser, "the conversation")
    parser.add_argument(
        "--context-shift",
        action="store_true",
        help="when the context is full, drop its oldest positions behind the system prompt instead "
        "of the oldest turns, and compute nothing again: neither the chat nor an answer ends there",
    )
    add_assistant(parser)
    add_template(parser)
    add_generation(parser, max_new_tokens=512)


def run(args: argparse.Namespace) -> None:
    from ..artifact import TASK, Artifact
    from ..generation.chat import Chat
    from ..generation.loop import check_stream
    from ..generation.text import of_chat
    from ..runtime.session import Session
    from ..text.tokenizer import Tokenizer

    artifact = Artifact.open(args.artifact).of_task(TASK)
    tokenizer = Tokenizer.from_folder(artifact.folder)
    options = template_options(args)
    # A missing template, or one that does not use the options, fails here.
    tokenizer.encode_chat([{"role": "user", "content": "a"}], **options)
    config = of_chat(generation_config(args, artifact.folder), tokenizer)
    check_stream(config)
    check_alone(args.prompt_cache, 1, config)
    assistant = assistant_of(args)
    cache = _shifting(args, tokenizer, options, artifact) if args.context_shift else {}
    with Session(artifact, threads=args.threads, **cache) as session:
        kept = PromptCache(session, args.prompt_cache)
        say_drafts(session, args, config)
        chat = Chat(watched(session), tokenizer, system=args.system, on_notice=say, **options)
        say("type a message; /help lists commands, /exit or Ctrl-D ends")
        try:
            talk(chat, config, artifact, assistant)
        except KeyboardInterrupt:  # at the prompt, it ends the chat
            kept.keep()
            raise
        kept.keep()


def _shifting(
    args: argparse.Namespace, tokenizer: Tokenizer, options: dict[str, Any], artifact: Artifact
) -> dict[str, Any]:
    """Return the options of a session that keeps the system prompt, and slides behind it."""
    from ..runtime.cache.kinds import SINKS

    if args.prompt_cache is not None:
        raise GenerationError(
            "--prompt-cache is given with --context-shift, expected one of them: positions that "
            "have moved cannot be kept"
        )
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    first, second = (
        tokenizer.encode_chat([*system, {"role": "user", "content": text}], **options)
        for text in ("a", "b")
    )
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    kept = max(SINKS, len(list(same)))
    if kept > (most := artifact.context_length // 2):
        raise GenerationError(
            f"the system prompt has {kept} tokens, expected at most {most}, half the context, with "
            "--context-shift",
            hint="shorten the system prompt",
        )
    return {"cache": "sink", "sinks": kept}


def talk(
    chat: Chat, config: GenerationConfig, artifact: Artifact, assistant: Model | None = None
) -> None:
    """Answer the messages on stdin, one by one, until its end."""
    for message in messages():
        text = message.strip()
        if text in ("/exit", "/quit"):
            return
        if text.startswith("/") and not text.startswith("//") and "\n" not in text:
            _obey(text, chat, artifact)
        elif text:
            text = text.removeprefix("/") if text.startswith("//") else text
            _answer(text, chat, config, assistant)


def _obey(text: str, chat: Chat, artifact: Artifact) -> None:
    """Do what a command says; a mistake in it is told and changes nothing."""
    name, _, rest = text.partition(" ")
    path = Path(rest.strip())
    try:
        if name == "/help" and not rest:
            say(COMMANDS)
        elif name == "/reset" and not rest:
            chat.reset()
        elif name == "/save" and rest:
            save_chat(path, chat, artifact.fingerprint)
            say(f"saved {len(chat.turns)} turns to {path}")
        elif name == "/load" and rest:
            load_chat(path, chat, artifact.fingerprint, artifact.vocab_size)
            say(f"loaded {len(chat.turns)} turns from {path}")
        else:
            say(f"error: {text} is not a command, expected one that /help lists")
            say("hint: //TEXT sends /TEXT to the model")
    except (BitNetError, OSError) as error:
        say(f"error: {error}")


def _answer(text: str, chat: Chat, config: GenerationConfig, assistant: Model | None) -> None:
    """Print the answer as it comes; Ctrl-C stops it, and the chat goes on with what was said."""
    try:
        pieces = chat.send(text, config, assistant_model=assistant)
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
        finally:
            pieces.close()
        print(flush=True)
        assert chat.result is not None
        say_speed(chat.result)
    except (GenerationError, TokenizerError) as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
    except KeyboardInterrupt:
        if not is_interactive():
            raise
        print(flush=True)
        say("stopped; Ctrl-C again ends the chat")
