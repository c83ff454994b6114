"""``bitnet-onnx convert``: rewrite a checkpoint in another published format."""

from __future__ import annotations

import argparse
import sys

from .common import add_checkpoint, add_output, opened_checkpoint

HELP = "rewrite a checkpoint in another published format"
DESCRIPTION = (
    "Rewrite a checkpoint weight for weight: ternary codes and their multipliers keep their bits. "
    "Float masters are quantized in the same way as when a checkpoint is loaded."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    add_output(parser, "the file or folder")
    parser.add_argument(
        "--to",
        required=True,
        choices=("packed", "gguf"),
        help="packed: a folder of safetensors; gguf: one I2_S file in the x86 layout",
    )


def run(args: argparse.Namespace) -> None:
    from ..weights.convert import convert

    progress = sys.stderr.isatty()
    print(convert(opened_checkpoint(args), args.output, to=args.to, progress=progress))
