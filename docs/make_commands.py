"""Write docs/commands.md from the parsers of the command line: ``python docs/make_commands.py``.

The text is made from the parsers' own records, not from argparse's help, whose form depends on
the width of the terminal and on the version of Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bitnet_onnx.cli.main import parser  # noqa: E402 - the checkout's own

PAGE = ROOT / "docs" / "commands.md"
COMMAND = "python docs/make_commands.py"


def main() -> int:
    arguments = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    arguments.add_argument("page", type=Path, nargs="?", default=PAGE)
    arguments.add_argument("--check", action="store_true", help="write nothing; 1 if it differs")
    args = arguments.parse_args()
    text = page(parser())
    if not args.check:
        args.page.write_bytes(text.encode())
    elif args.page.read_text("utf-8") != text:
        print(f"error: {args.page} is not what the parsers say", file=sys.stderr)
        print(f"hint: renew it with: {COMMAND}", file=sys.stderr)
        return 1
    return 0


def page(program: argparse.ArgumentParser) -> str:
    """The whole page: a section for each command."""
    (commands,) = (a for a in program._actions if isinstance(a, argparse._SubParsersAction))
    helps = {choice.dest: choice.help for choice in commands._choices_actions}
    lines = [
        "# Commands",
        "",
        f"<!-- Made by: {COMMAND} -->",
        "",
        f"{program.description} `{program.prog} COMMAND --help` shows what is below;",
        f"`{program.prog} --version` shows the version.",
        "",
        "Results go to stdout, everything else to stderr. The exit code is 0 after success, 1 when",
        "`verify` finds a difference, 2 after a mistake in the command or its input, and 130 after",
        "an interrupt.",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| [`{name}`](#{program.prog}-{name}) | {cell(helps[name])} |" for name in helps),
    ]
    for name, command in commands.choices.items():
        lines += ["", f"## {program.prog} {name}", "", *section(command, helps[name])]
    return "\n".join(lines) + "\n"


def section(command: argparse.ArgumentParser, about: str | None) -> Iterator[str]:
    """One command: what it does, how it is called, a table for each group of arguments."""
    text = command.description or str(about)
    yield text[:1].upper() + text[1:].removesuffix(".") + "."
    yield ""
    yield "```text"
    yield " ".join([command.prog, *usage(command._actions)])
    yield "```"
    for group in command._action_groups:
        actions = [a for a in group._group_actions if not isinstance(a, argparse._HelpAction)]
        if actions:
            yield ""
            if group.description:
                yield f"Options of {group.title}; {group.description}:"
                yield ""
            kind = "option" if actions[0].option_strings else "argument"
            yield f"| {kind} | meaning |"
            yield "|---|---|"
            yield from (f"| {names(action)} | {meaning(action)} |" for action in actions)


def usage(actions: list[argparse.Action]) -> Iterator[str]:
    """What must be given, and what may be."""
    for action in actions:
        if not action.option_strings:
            yield f"[{value(action)}]" if action.nargs == "?" else value(action)
        elif action.required:
            yield f"{action.option_strings[0]} {value(action)}"
    yield "[OPTION ...]"


def names(action: argparse.Action) -> str:
    """``-o OUTPUT`` and ``--output OUTPUT``; a positional argument in capitals."""
    if not action.option_strings:
        return f"`{value(action)}`"
    taken = "" if action.nargs == 0 else f" {value(action)}"
    return ", ".join(f"`{option}{taken}`" for option in action.option_strings)


def value(action: argparse.Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"{shown} [{shown} ...]" if action.nargs == "+" else shown


def meaning(action: argparse.Action) -> str:
    """The help, with the default where the help does not name it."""
    text = (action.help or "") % vars(action)
    given = action.default is not None and action.default is not False and action.default != []
    default = f"default: {action.default}" if given and "default" not in text else ""
    required = "required" if action.required and action.option_strings else ""
    return cell("; ".join(part for part in (text, default, required) if part))


def cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main())
