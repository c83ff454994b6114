"""``bitnet-onnx export``: a checkpoint becomes an artifact folder."""

from __future__ import annotations

import argparse
import sys

from .common import add_checkpoint, add_output, opened_checkpoint

HELP = "turn a checkpoint into an artifact folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    add_output(parser, "the folder")
    parser.add_argument(
        "--target",
        default="native",
        help="native: on the custom-op library (default); stock: on ONNX Runtime's operators "
        "alone, for browsers and other runtimes that load no library",
    )
    parser.add_argument(
        "--head",
        default="bf16",
        help="bf16: the checkpoint's own bits (default); int8: half the bytes, 8 bits a weight; "
        "float32: for tables that bf16 does not hold; two-step: bf16's 64 largest logits, exact, "
        "found by int8",
    )
    parser.add_argument(
        "--kv-cache",
        default="float32",
        help="what keys and values are kept as; float32: unrounded (default); float16: half the "
        "memory; int8: a quarter, and the fastest at long contexts",
    )
    parser.add_argument("--context-length", type=int, help="positions; default: the config's")


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
