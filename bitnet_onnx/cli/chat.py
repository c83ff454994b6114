"""``bitnet-onnx chat``: chat in the terminal; the cache is kept from turn to turn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import GenerationError
from .common import add_artifact, add_generation, generation_config, lines_of_stdin, say, say_speed
from .template import add_template, template_options

if TYPE_CHECKING:
    from ..generation.chat import Chat
    from ..generation.config import GenerationConfig

HELP = "chat with a model in the terminal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument("--system", help="the system prompt; default: none")
    add_template(parser)
    add_generation(parser, max_new_tokens=512)


def run(args: argparse.Namespace) -> None:
    from ..artifact import Artifact
    from ..generation.chat import Chat
    from ..runtime.session import Session
    from ..text.tokenizer import Tokenizer

    artifact = Artifact.open(args.artifact)
    tokenizer = Tokenizer.from_folder(artifact.folder)
    options = template_options(args)
    # A missing template, or one that does not use the options, fails here.
    tokenizer.encode_chat([{"role": "user", "content": "a"}], **options)
    config = generation_config(args)
    with Session(artifact, threads=args.threads) as session:
        chat = Chat(session, tokenizer, system=args.system, on_notice=say, **options)
        say("type a message; /reset forgets the conversation, /exit or Ctrl-D ends it")
        talk(chat, config)


def talk(chat: Chat, config: GenerationConfig) -> None:
    """Answer lines of stdin, one by one, until its end."""
    for line in lines_of_stdin():
        text = line.strip()
        if text in ("/exit", "/quit"):
            return
        if text == "/reset":
            chat.reset()
        elif text:
            try:
                for piece in chat.send(text, config):
                    print(piece, end="", flush=True)
                print()
                assert chat.result is not None
                say_speed(chat.result)
            except GenerationError as error:
                say(f"error: {error}")
            except KeyboardInterrupt:
                print()
