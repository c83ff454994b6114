"""The command line: what each command's options are, and which function it calls.

Results go to stdout, everything said about them to stderr. A user's mistake is one line and exit
code 2. Heavy modules are imported by the command that needs them, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from .. import __version__
from ..errors import BitNetError, ConfigError

__all__ = ["main"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (verify: they differ), 2 (a mistake)."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except BitNetError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "bitnet_onnx":
            raise
        print(f"error: this command needs the package {error.name}", file=sys.stderr)
        print("hint: pip install 'bitnet-onnx[export]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bitnet-onnx", description="Exact 1.58-bit language models on ONNX Runtime."
    )
    parser.add_argument("--version", action="version", version=f"bitnet-onnx {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _export,
        _convert,
        _generate,
        _chat,
        _bench,
        _verify,
        _info,
        _synthesize,
        _demo,
        _web,
    ):
        add(commands)
    return parser


def _export(commands: Commands) -> None:
    command = commands.add_parser("export", help="turn a checkpoint into an artifact folder")
    _checkpoint_arguments(command)
    command.add_argument("-o", "--output", type=Path, required=True, help="the folder to make")
    command.add_argument(
        "--target",
        default="native",
        help="native: our operators (default); stock: ONNX Runtime's own alone, for browsers and "
        "other runtimes that load no library",
    )
    command.add_argument(
        "--head",
        default="bf16",
        help="bf16: the checkpoint's own bits (default); int8: half the bytes, 8 bits a weight; "
        "float32: for tables that bf16 does not hold; two-step: bf16's 64 largest logits, exact, "
        "found by int8",
    )
    command.add_argument(
        "--kv-cache",
        default="float32",
        help="what keys and values are kept as; float32: unrounded (default); float16: half the "
        "memory; int8: a quarter, and the fastest at long contexts",
    )
    command.add_argument("--context-length", type=int, help="positions; default: the config's")
    command.set_defaults(run=_run_export)


def _run_export(args: argparse.Namespace) -> None:
    from ..exporter.export import export
    from .commands import opened_checkpoint

    folder = export(
        opened_checkpoint(args),
        args.output,
        target=args.target,
        head=args.head,
        kv_cache=args.kv_cache,
        context_length=args.context_length,
        progress=sys.stderr.isatty(),
    )
    print(folder)


def _convert(commands: Commands) -> None:
    command = commands.add_parser(
        "convert",
        help="rewrite a checkpoint in another published format",
        description="Rewrite a checkpoint weight for weight: ternary codes and their multipliers "
        "keep their bits. A master (float) checkpoint is quantized as at load.",
    )
    _checkpoint_arguments(command)
    command.add_argument("-o", "--output", type=Path, required=True, help="the file or folder")
    command.add_argument(
        "--to", required=True, choices=("packed", "gguf"),
        help="packed: a folder of safetensors; gguf: one I2_S file in the x86 layout",
    )  # fmt: skip
    command.set_defaults(run=_run_convert)


def _run_convert(args: argparse.Namespace) -> None:
    from ..weights.convert import convert
    from .commands import opened_checkpoint

    progress = sys.stderr.isatty()
    print(convert(opened_checkpoint(args), args.output, to=args.to, progress=progress))


def _generate(commands: Commands) -> None:
    command = commands.add_parser(
        "generate",
        help="continue one or more prompts",
        description="Continue prompts. A chat model's prompt is put into its chat template.",
    )
    _artifact_argument(command)
    command.add_argument("prompt", nargs="?", help="the prompt; - or nothing reads stdin")
    command.add_argument("--prompt-ids", metavar="1,2,3", help="token ids instead of a text")
    command.add_argument("--prompts-file", type=Path, help="one prompt a line, run as one batch")
    command.add_argument(
        "--ignore-chat-template", action="store_true", help="feed the prompt as it is, after bos"
    )
    command.add_argument("--output", choices=("text", "ids", "json"), default="text")
    _sampling_arguments(command, max_new_tokens=256)
    command.set_defaults(run=_in_commands("run_generate"))


def _chat(commands: Commands) -> None:
    command = commands.add_parser("chat", help="talk with a model in the terminal")
    _artifact_argument(command)
    command.add_argument("--system", help="a system prompt")
    _sampling_arguments(command, max_new_tokens=512)
    command.set_defaults(run=_in_commands("run_chat"))


def _bench(commands: Commands) -> None:
    command = commands.add_parser("bench", help="measure prefill, decode, load and memory")
    _artifact_argument(command)
    command.add_argument("--prompt-tokens", type=int, default=128)
    command.add_argument("--max-new-tokens", type=int, default=64)
    command.add_argument("--runs", type=int, default=3, help="medians are over so many runs")
    command.add_argument(
        "--profile", action="store_true",
        help="also time, bytes and share of each kind of operator in a step after the prompt",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(run=_in_commands("run_bench"))


def _verify(commands: Commands) -> None:
    command = commands.add_parser(
        "verify",
        help="compare an artifact with a torch reference",
        description="Compare logits and greedy ids of a torch reference and the artifact, once as "
        "they are and once with rounding ties of the activation quantizer settled alike. Exit "
        "code 1 when they disagree.",
    )
    _checkpoint_arguments(command)
    command.add_argument("artifact", type=Path)
    command.add_argument(
        "--against",
        default="torch",
        help="torch: this package's reference (default); transformers: its class and loader",
    )
    command.add_argument(
        "--prompt-ids", metavar="1,2,3", action="append", help="default: three random prompts"
    )
    command.add_argument("--prompts-file", type=Path, help="one prompt a line, fed as it is")
    command.add_argument("--max-new-tokens", type=int, default=64, help="steps after each prompt")
    command.add_argument("--json", action="store_true", help="one JSON report on stdout")
    command.set_defaults(run=_in_commands("run_verify"))


def _info(commands: Commands) -> None:
    command = commands.add_parser("info", help="show versions, kernels, and an artifact's manifest")
    command.add_argument("artifact", type=Path, nargs="?", help="an artifact, or a .gguf file")
    command.add_argument("--check", action="store_true", help="compare every file's sha256")
    command.set_defaults(run=_in_commands("run_info"))


def _synthesize(commands: Commands) -> None:
    command = commands.add_parser(
        "synthesize", help="make a random-weight checkpoint, for benchmarks and tests"
    )
    command.add_argument("--preset", required=True, help="the shape, e.g. 2b-4t")
    command.add_argument("-o", "--output", type=Path, required=True, help="the folder to make")
    command.add_argument("--layers", type=int, help="fewer or more layers than the preset")
    command.add_argument(
        "--ffn-zeros", type=float, metavar="SHARE",
        help="the share of gates that are 0 at run time, 0 to 0.99; default: about 0.5",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_run_synthesize)


def _run_synthesize(args: argparse.Namespace) -> None:
    from ..weights.synthesize import synthesize

    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}, expected 0 or more")
    print(
        synthesize(
            args.preset,
            args.output,
            layers=args.layers,
            ffn_zeros=args.ffn_zeros,
            seed=args.seed,
            progress=sys.stderr.isatty(),
        )
    )


def _demo(commands: Commands) -> None:
    command = commands.add_parser("demo", help="export the bundled model, ask it, chat with it")
    command.add_argument("--artifact", type=Path, help="keep the artifact in this folder")
    command.set_defaults(run=_in_commands("run_demo"))


def _web(commands: Commands) -> None:
    command = commands.add_parser("web", help="serve the page for browsers with an artifact")
    command.add_argument("artifact", type=Path, help="a folder made by: export --target stock")
    command.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    command.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free one")
    command.set_defaults(run=_run_web)


def _run_web(args: argparse.Namespace) -> None:
    from ..serve.page import serve

    serve(args.artifact, args.host, args.port)


def _in_commands(name: str) -> Callable[[argparse.Namespace], int | None]:
    """A function of commands.py, which is imported when the command runs."""

    def run(args: argparse.Namespace) -> int | None:
        from . import commands

        result: int | None = getattr(commands, name)(args)
        return result

    return run


def _checkpoint_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "checkpoint",
        help="folder with config.json and safetensors, .gguf file, or Hugging Face Hub id org/name",
    )
    command.add_argument("--revision", help="branch, tag or commit of the Hub id; default: main")
    command.add_argument(
        "--i2s-layout",
        choices=("x86", "arm"),
        default="x86",
        help="where a GGUF file's I2_S tensors were made; default: x86, as published",
    )


def _artifact_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("artifact", type=Path, help="a folder made by: bitnet-onnx export")
    command.add_argument("--threads", type=int, default=0, help="default: one per core")


def _sampling_arguments(command: argparse.ArgumentParser, max_new_tokens: int) -> None:
    group = command.add_argument_group("generation", "names and meanings are transformers'")
    group.add_argument("--max-new-tokens", type=int, default=max_new_tokens)
    group.add_argument("--do-sample", action="store_true", help="sample; otherwise greedy")
    group.add_argument("--temperature", type=float, default=1.0)
    group.add_argument("--top-k", type=int, default=50)
    group.add_argument("--top-p", type=float, default=1.0)
    group.add_argument("--min-p", type=float, default=0.0)
    group.add_argument("--repetition-penalty", type=float, default=1.0)
    group.add_argument("--seed", type=int, help="the same seed, the same text")
    group.add_argument("--stop-strings", nargs="+", default=[], metavar="TEXT")
