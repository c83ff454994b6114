"""``bitnet-onnx demo``: export the bundled model, ask it held-out questions, chat with it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from .chat import talk
from .common import DEMO, say, say_speed
from .conversation.terminal import is_interactive

HELP = "export the bundled model, ask it questions, chat with it"
QUESTIONS = 3  # of each kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--artifact", type=Path, help="keep the artifact in this folder")


def run(args: argparse.Namespace) -> None:
    from .. import native
    from ..artifact import Artifact
    from ..exporter.export import export
    from ..generation.chat import Chat
    from ..generation.config import GenerationConfig
    from ..generation.text import text_stream
    from ..runtime.session import Session
    from ..text.tokenizer import Tokenizer

    config = GenerationConfig(max_new_tokens=64)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as opened:
        folder = args.artifact or Path(temporary) / "demo"
        if args.artifact is None or not folder.exists():
            say(f"exporting the bundled model to {folder}")
            export(DEMO, folder, progress=sys.stderr.isatty())
        tokenizer = Tokenizer.from_folder(folder)
        # Windows removes no folder whose files are mapped.
        session = opened.enter_context(Session(folder))
        say(f"kernel {native.active_kernel()}; these questions are not in the training data\n")
        right = asked = 0
        for kind, question, answer in questions():
            print(f"[{kind}] {question}\n  -> ", end="", flush=True)
            ids = tokenizer.encode_chat([{"role": "user", "content": question}])
            stream = text_stream(session, tokenizer, ids, config)
            for piece in stream:
                print(piece, end="", flush=True)
            correct = stream.text.strip() == answer
            asked, right = asked + 1, right + correct
            print("" if correct else f"  (expected: {answer})")
            say_speed(stream.result)
        print(f"\n{right} of {asked} answers are right")
        if is_interactive() and sys.stdout.isatty():
            say("\nask questions of these kinds; /help lists commands, /exit or Ctrl-D ends")
            talk(Chat(session, tokenizer, on_notice=say), config, Artifact.open(folder))


def questions() -> Iterator[tuple[str, str, str]]:
    """Yield kind, question and answer of the first held-out questions of each kind."""
    seen: dict[str, int] = {}
    for line in (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        seen[record["kind"]] = seen.get(record["kind"], 0) + 1
        if seen[record["kind"]] <= QUESTIONS:
            yield record["kind"], record["question"], record["answer"]
