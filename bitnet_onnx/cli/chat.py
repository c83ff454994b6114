"""``bitnet-onnx chat``: chat in the terminal; the cache is kept from turn to turn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import GenerationError
from .common import add_artifact, add_generation, generation_config, lines_of_stdin, say, say_speed

if TYPE_CHECKING:
    from ..generation.chat import Chat
    from ..generation.config import GenerationConfig

HELP = "chat with a model in the terminal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument("--system", help="the system prompt; default: none")
    add_generation(parser, max_new_tokens=512)


def run(args: argparse.Namespace) -> None:
    from ..artifact import Artifact
    from ..generation.chat import Chat
    from ..runtime.session import Session
    from ..text.tokenizer import Tokenizer

    artifact = Artifact.open(args.artifact)
    tokenizer = Tokenizer.from_folder(artifact.folder)
    tokenizer.encode_chat([{"role": "user", "content": "a"}])  # a missing template fails here
    config = generation_config(args)
    with Session(artifact, threads=args.threads) as session:
        chat = Chat(session, tokenizer, system=args.system, on_notice=say)
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
