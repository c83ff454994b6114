"""One round: damage one file, then use the folder in Python and by the command line.

A round is right when every command ends with 0, or with 2 and one sentence, and when Python raises
nothing but a BitNetError. The exporter's graph and weights do not depend on the text that is
damaged here, so they are made once; the rest of the exporter runs each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitnet_onnx.artifact import MANIFEST, Artifact
from bitnet_onnx.cli.main import main as command_line
from bitnet_onnx.errors import BitNetError
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.fuzz import damages
from tests.support.mutate import Damage
from tests.support.paths import DEMO

__all__ = ["KINDS", "Place"]

PROMPT = "What is 27 + 5? <|eot_id|> ä 🙂"
FEW = ("--max-new-tokens", "2")
TALK = ("error: ", "hint: ", "note: ", "     ", "type a message", "every file has", "forgot")


class Place:
    """A folder with the bundled checkpoint, its GGUF file and its artifact, to be damaged."""

    def __init__(self, root: Path) -> None:
        self.checkpoint, self.artifact = root / "checkpoint", root / "artifact"
        self.output, self.gguf = root / "output", root / "m.gguf"

    def make(self) -> None:
        shutil.copytree(DEMO, self.checkpoint, ignore=shutil.ignore_patterns("*.jsonl"))
        with contextlib.redirect_stdout(io.StringIO()):
            assert command_line(["export", str(DEMO), "-o", str(self.artifact)]) == 0
            to_gguf = ["convert", str(DEMO), "-o", str(self.gguf), "--to", "gguf"]
            assert command_line(to_gguf) == 0

    def without_graphs(self) -> None:
        """Let this process export without tracing: each artifact gets the graph made before."""
        export = importlib.import_module("bitnet_onnx.exporter.export")
        graph = [path for path in self.artifact.iterdir() if path.name.startswith("model.onnx")]

        def save(_: Any, readers: Any, folder: Path, *__: Any) -> None:
            for path in graph:
                os.link(path, folder / path.name)

        for name, value in {
            "trace": lambda *_: None,
            "EDITS": {},
            "attach_functions": lambda _: None,
            "save": save,
        }.items():
            assert hasattr(export, name)
            setattr(export, name, value)


# -------------------------------------------------------------------------------- what is done


refused: list[str] = []  # the commands of this round that ended with a sentence


def run(*arguments: str | Path, given: str = "") -> str | None:
    """Run a command; return what is wrong with how it ended, None where nothing is."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    said = io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = command_line([str(argument) for argument in arguments])
            out.flush()
    except BaseException:  # a library written in Rust may panic, which is no Exception
        return f"{arguments[0]}: {traceback.format_exc()}"
    lines = said.getvalue().split("\n")
    errors = [line for line in lines if line.startswith("error: ")]
    talk = all(line.startswith(TALK) for line in lines if line)
    if code not in (0, 2) or (code == 2 and len(errors) != 1) or not talk:
        return f"{arguments[0]} ended with {code} and said {said.getvalue()[:2000]!r}"
    if code == 2:
        refused.append(str(arguments[0]))
    if any(len(line) > 1500 for line in lines):
        return (
            f"{arguments[0]} said a line of {max(map(len, lines))} characters: {lines[0][:300]!r}"
        )
    return None


def python(folder: Path) -> str | None:
    """Use the tokenizer of a folder; return what else than a BitNetError was raised."""
    try:
        tokenizer = Tokenizer.from_folder(folder)
        ids = tokenizer.encode(PROMPT)
        tokenizer.decode(ids)
        tokenizer.decode([0, 1, 2, 831, 832, 2**31 - 1], skip_special_tokens=False)
        assert all(type(token) is int for token in (*ids, *tokenizer.eos_token_ids))
        assert isinstance(tokenizer.pad_token_id, int)
        if tokenizer.has_chat_template:
            tokenizer.encode_chat([{"role": "user", "content": PROMPT}])
    except BitNetError as error:
        if "\n" in str(error) or len(str(error)) > 1500:
            return f"Tokenizer: {len(str(error))} characters: {str(error)[:500]!r}"
    except BaseException:
        return f"Tokenizer: {traceback.format_exc()}"
    return None


def use(folder: Path, also_chat: bool) -> str | None:
    """Generate from an artifact that may be damaged."""
    wrong = python(folder) or run("generate", folder, PROMPT, *FEW)
    if wrong is None and also_chat:
        wrong = run("chat", folder, *FEW, given="Hello\n/reset\nHi\n")
    return wrong


def of_checkpoint(place: Place, name: str, content: bytes, also_chat: bool) -> str | None:
    """Export a checkpoint with a damaged file, and use what was exported."""
    with replaced(place.checkpoint / name, content):
        wrong = run("export", place.checkpoint, "-o", place.output)
    try:
        if wrong is None and place.output.exists():
            wrong = use(place.output, also_chat)
    finally:
        shutil.rmtree(place.output, ignore_errors=True)
    return wrong


def of_artifact(place: Place, name: str, content: bytes, also_chat: bool) -> str | None:
    """Use an artifact with a damaged file, whose manifest agrees with it."""
    manifest = json.loads((place.artifact / MANIFEST).read_bytes())
    manifest["files"][name] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    agreeing = replaced(place.artifact / MANIFEST, json.dumps(manifest).encode())
    with agreeing, replaced(place.artifact / name, content):
        return use(place.artifact, also_chat)


def of_manifest(place: Place, name: str, content: bytes, also_chat: bool) -> str | None:
    with replaced(place.artifact / MANIFEST, content):
        wrong = run("info", place.artifact, "--check") or use(place.artifact, also_chat)
        with contextlib.suppress(BitNetError):
            Artifact.open(place.artifact)
        return wrong


def of_config(place: Place, name: str, content: bytes, also_chat: bool) -> str | None:
    with replaced(place.checkpoint / name, content):
        wrong = run("export", place.checkpoint, "-o", place.output)
        if wrong is None and not place.output.exists():
            wrong = run("convert", place.checkpoint, "-o", place.output, "--to", "packed")
    shutil.rmtree(place.output, ignore_errors=True)
    return wrong


def of_weights(place: Place, name: str, content: bytes, also_chat: bool) -> str | None:
    with replaced(place.checkpoint / name, content):
        wrong = run("convert", place.checkpoint, "-o", place.output, "--to", "packed")
    shutil.rmtree(place.output, ignore_errors=True)
    return wrong


def of_gguf(place: Place, name: str, content: bytes, also_chat: bool) -> str | None:
    with replaced(place.gguf, content):
        wrong = run("info", place.gguf) or run("export", place.gguf, "-o", place.output)
    try:
        if wrong is None and place.output.exists():
            wrong = use(place.output, also_chat)
    finally:
        shutil.rmtree(place.output, ignore_errors=True)
    return wrong


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Any:
    """Put other content under a name, and the old file back; links to it keep the old content."""
    kept = path.with_name(f"{path.name}.kept")
    path.rename(kept)
    try:
        path.write_bytes(content)
        yield
    finally:
        kept.replace(path)


# ------------------------------------------------------------------------------------ the kinds


Use = Callable[[Place, str, bytes, bool], str | None]
# A kind: the damaged file, its damages, and what is done with it, in turns.
KINDS: dict[str, tuple[str, tuple[Damage, ...], tuple[Use, ...]]] = {
    "tokenizer": ("tokenizer.json", damages.JSON, (of_artifact, of_checkpoint)),
    "tokenizer-config": ("tokenizer_config.json", damages.JSON, (of_artifact, of_checkpoint)),
    "template": ("chat_template.jinja", damages.TEMPLATE, (of_artifact, of_checkpoint)),
    "generation-config": ("generation_config.json", damages.JSON, (of_artifact, of_checkpoint)),
    "manifest": (MANIFEST, damages.JSON, (of_manifest,)),
    "config": ("config.json", damages.JSON, (of_config,)),
    "safetensors": ("model.safetensors", damages.WEIGHTS, (of_weights,)),
    "gguf": ("m.gguf", damages.GGUF, (of_gguf,)),
}


def one_round(place: Place, kind: str, seed: int) -> dict[str, Any]:
    """Return the name of the damage, whether a command refused it, and what went wrong."""
    name, ways, uses = KINDS[kind]
    numbers = random.Random(f"{kind} {seed}")
    folder = place.artifact if uses == (of_manifest,) else place.checkpoint
    whole = place.gguf if kind == "gguf" else folder / name
    damage = numbers.choice(ways)
    content = damage(numbers, whole.read_bytes())
    refused.clear()
    wrong = uses[seed % len(uses)](place, name, content, numbers.random() < 0.2)
    return {"damage": damage.__name__, "refused": bool(refused), "wrong": wrong}
