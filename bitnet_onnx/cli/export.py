"""``bitnet-onnx export``: export a checkpoint to an artifact folder."""

from __future__ import annotations

import argparse
import sys

from .common import add_checkpoint, add_output, opened_checkpoint

HELP = "export a checkpoint to an artifact folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    add_output(parser, "the folder")
    parser.add_argument(
        "--target",
        default="native",
        help="native: uses the custom-op library (default); stock: uses only ONNX Runtime's own "
        "operators, for browsers and runtimes that cannot load a library",
    )
    parser.add_argument(
        "--head",
        default="bf16",
        help="bf16: the checkpoint's own bits (default); float32: for tables that do not fit bf16; "
        "two-step: the 64 largest logits of bf16, found by an int8 scan with a proven bound; "
        "two-step-int4: the same from a 4-bit scan, with a statistical bound; int8, int6, int4: "
        "rounded to so many bits a weight, which changes ids",
    )
    parser.add_argument(
        "--kv-cache",
        default="float32",
        help="the type of cached keys and values; float32: unrounded (default); float16: half the "
        "memory; int8: about a quarter, and the fastest at long contexts",
    )
    parser.add_argument(
        "--context-length", type=int, help="the largest number of positions; default: the config's"
    )


def run(args: argparse.Namespace) -> None:
    from ..exporter.export import export

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
