"""The command line: one file for each command, with one way to report errors.

Results go to stdout, all other output to stderr. A user's mistake, and whatever the machine
refuses, prints one line and ends with exit code 2. A command imports heavy packages when it runs,
so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from .. import __version__
from ..errors import BitNetError
from . import (
    batch,
    bench,
    chat,
    convert,
    demo,
    embed,
    evaluate,
    export,
    generate,
    info,
    serve,
    synthesize,
    verify,
    web,
)
from .parsing import Parser
from .streams import OutputError, discard_stdout, guarded

__all__ = ["COMMANDS", "main", "parser"]

# In the order of the help; each has HELP, add_arguments(parser), run(args) -> exit code or None.
COMMANDS = {
    "export": export,
    "convert": convert,
    "generate": generate,
    "chat": chat,
    "embed": embed,
    "bench": bench,
    "verify": verify,
    "evaluate": evaluate,
    "info": info,
    "synthesize": synthesize,
    "demo": demo,
    "serve": serve,
    "batch": batch,
    "web": web,
}
# Which extra brings a package that is missing; the others come with "export".
EXTRAS = {
    **dict.fromkeys(("prometheus_client", "starlette", "uvicorn"), "server"),
    **dict.fromkeys(("pyarrow", "ray"), "ray"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    0 is success, 1 that verify disagrees, 2 a mistake of the user or of the machine. As a shell
    has it, 130 is Ctrl-C, 141 a stdout that nobody reads; 143 and 129 are a signal to end.
    """
    with guarded(), _ended_by_signals():
        try:
            try:
                args = parser().parse_args(argv)
                code = int(COMMANDS[args.command].run(args) or 0)
            except SystemExit:  # after --help
                sys.stdout.flush()
                raise
            sys.stdout.flush()
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return 130
        except BrokenPipeError:
            discard_stdout()
            return 141
        except (BitNetError, ModuleNotFoundError, OSError, UnicodeError, MemoryError) as error:
            if isinstance(error, OutputError):
                discard_stdout()
            _report(error)
            return 2
        return code


def _report(error: Exception) -> None:
    """Print what went wrong in one sentence, and in another what to do; or raise our own mistake.

    The one place for what no other place has explained.
    """
    hint = None
    if isinstance(error, BitNetError):
        sentence, hint = str(error), error.hint
    elif isinstance(error, ModuleNotFoundError):
        if error.name is None or error.name.partition(".")[0] == "bitnet_onnx":
            raise error
        extra = EXTRAS.get(error.name.partition(".")[0], "export")
        sentence = f"this command needs the package {error.name}"
        hint = f"install it with: pip install 'bitnet-onnx[{extra}]'"
    elif isinstance(error, OSError):
        what = "a file" if error.filename is None else str(error.filename)
        sentence = f"{what} cannot be used: {error.strerror or error}"
    elif isinstance(error, UnicodeError):
        sentence = f"a text cannot be encoded or decoded: {error}"
    else:
        sentence = f"the memory is not enough: {str(error) or 'an allocation failed'}"
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command like an error, so that nothing half-made stays."""

    def end(number: int, _: FrameType | None) -> None:
        for name in before:  # the cleaning up is not interrupted
            signal.signal(name, signal.SIG_IGN)
        raise SystemExit(128 + number)

    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []
    # A signal that is ignored, as under nohup, or that somebody else handles, stays as it is.
    before = {name: signal.getsignal(name) for name in names}
    before = {name: found for name, found in before.items() if found is signal.SIG_DFL}
    for name in before:
        signal.signal(name, end)
    try:
        yield
    finally:
        for name, found in before.items():
            signal.signal(name, found)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; docs/commands.md is generated from it."""
    made = Parser(prog="bitnet-onnx", description="Exact 1.58-bit language models on ONNX Runtime.")
    made.add_argument("--version", action="version", version=f"bitnet-onnx {__version__}")
    commands = made.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    for name, command in COMMANDS.items():
        about = getattr(command, "DESCRIPTION", None)
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=about))
    return made
