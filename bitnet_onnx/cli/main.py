"""The command line: one file for each command, with one way to report errors.

Results go to stdout, all other output to stderr. A user's mistake prints one line and ends with
exit code 2. A command imports heavy packages when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import BitNetError
from . import bench, chat, convert, demo, export, generate, info, synthesize, verify, web

__all__ = ["COMMANDS", "main", "parser"]

# In the order of the help; each has HELP, add_arguments(parser), run(args) -> exit code or None.
COMMANDS = {
    "export": export,
    "convert": convert,
    "generate": generate,
    "chat": chat,
    "bench": bench,
    "verify": verify,
    "info": info,
    "synthesize": synthesize,
    "demo": demo,
    "web": web,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 1 (verify disagrees) or 2 (a user's mistake)."""
    args = parser().parse_args(argv)
    try:
        return int(COMMANDS[args.command].run(args) or 0)
    except BitNetError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "bitnet_onnx":
            raise
        print(f"error: this command needs the package {error.name}", file=sys.stderr)
        print("hint: install it with: pip install 'bitnet-onnx[export]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; docs/commands.md is generated from it."""
    made = argparse.ArgumentParser(
        prog="bitnet-onnx", description="Exact 1.58-bit language models on ONNX Runtime."
    )
    made.add_argument("--version", action="version", version=f"bitnet-onnx {__version__}")
    commands = made.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    for name, command in COMMANDS.items():
        about = getattr(command, "DESCRIPTION", None)
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=about))
    return made
