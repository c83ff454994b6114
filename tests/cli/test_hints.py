"""A hint names only options that the commands have which can print it."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx.cli.main import parser
from tests.support.paths import PACKAGE

# The commands that run the code of a file, or else of its room.
CHECKPOINTS = ("export", "convert", "verify", "evaluate")
MODELS = ("generate", "chat")
REACHED = {
    "cli/common.py": ("generate", "verify"),
    "cli/arguments/options.py": MODELS,
    "cli/conversation/saved.py": ("chat",),
    "cli/streams.py": MODELS,
    "cli/conversation/terminal.py": ("chat",),
    "exporter": ("export",),
    "weights": CHECKPOINTS,
    "network": CHECKPOINTS,
    "model": ("verify", "evaluate"),
    "operators": ("export",),
    "runtime": (*MODELS, "bench", "verify", "evaluate"),
    "runtime/cache/offloaded.py": MODELS,
    "text": (*MODELS, "evaluate"),
    "generation": (*MODELS, "evaluate"),
    "embedding": ("embed",),
    "verification": ("verify",),
    "evaluation": ("evaluate",),
    "bench": ("bench",),
    "serve": ("web",),
    "serve/bulk": ("batch",),
    "artifact.py": (*MODELS, "bench", "verify", "evaluate", "info", "web"),
    "native.py": (*MODELS, "bench", "verify", "info", "export"),
    "files.py": ("export", "convert", "synthesize"),
}
# An option of another program, in a hint that names the program.
OTHERS = re.compile(r"\b(pip|iconv|git|huggingface-cli|hf|ray) [^;]*")


def commands() -> dict[str, set[str]]:
    (action,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: set(p._option_string_actions) for name, p in action.choices.items()}


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the constant texts of an expression; ``{}`` stands for what an f-string fills in."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)  # type: ignore[misc]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from texts(child)


def hints(path: Path) -> Iterator[str]:
    """Yield the hints in a file: arguments and variables of that name, and second arguments."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield from texts(node.value)
        elif isinstance(node, ast.Assign):
            if any("hint" in ast.unparse(t).lower() for t in node.targets):
                yield from texts(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", "error")):
            yield from (text for argument in node.args[1:2] for text in texts(argument))


def wrong(hint: str, reached: tuple[str, ...], known: dict[str, set[str]]) -> list[str]:
    """Return the options that a command lacks: of the one that it names, or of all."""
    found = []
    for part in re.split(r"; ", OTHERS.sub("", hint)):
        named = re.search(r"bitnet-onnx ([a-z]+)|\b(export|convert|verify)( it)? with", part)
        name = next((n for n in named.groups()[:2] if n), None) if named else None
        for option in re.findall(r"(?<![\w-])--[a-z0-9][a-z0-9-]*", part):
            where = (name,) if name else reached
            found += [f"{c} lacks {option}" for c in where if option not in known[c]]
    return found


def reached(name: str) -> tuple[str, ...]:
    """Return the commands that can print a hint of a file."""
    room, _, file = name.partition("/")
    command = file.removesuffix(".py")
    if room == "cli" and command in commands():
        return (command,)
    places = (name, name.rpartition("/")[0], room)
    return next((REACHED[place] for place in places if place in REACHED), ())


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_option_that_a_hint_names_exists(path: Path) -> None:
    name, known = path.relative_to(PACKAGE).as_posix(), commands()
    for hint in hints(path):
        assert wrong(hint, reached(name), known) == [], f"{name}: {hint}"


def test_a_wrong_hint_is_found() -> None:
    known = commands()
    assert wrong("add --nothing", ("chat",), known) == ["chat lacks --nothing"]
    assert wrong("bitnet-onnx info --check", ("chat",), known) == []
    assert wrong("bitnet-onnx chat --check", (), known) == ["chat lacks --check"]
    assert wrong("export with --head int8", ("verify",), known) == []
    assert wrong("compare with --against torch", ("verify", "chat"), known) == [
        "chat lacks --against"
    ]
    assert wrong("pip install --upgrade x", ("chat",), known) == []


def test_hints_are_found_in_every_form() -> None:
    found = [hint for path in PACKAGE.rglob("*.py") for hint in hints(path)]
    assert sum("--" in hint for hint in found) >= 15
