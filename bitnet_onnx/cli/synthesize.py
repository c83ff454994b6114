"""``bitnet-onnx synthesize``: write a random-weight checkpoint of a published shape."""

from __future__ import annotations

import argparse
import sys

from ..errors import ConfigError
from .common import add_output

HELP = "write a random-weight checkpoint, for benchmarks and tests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", required=True, help="the published shape, e.g. 2b-4t")
    add_output(parser, "the folder")
    parser.add_argument("--layers", type=int, help="the number of layers; default: the preset's")
    parser.add_argument(
        "--ffn-zeros",
        type=float,
        metavar="SHARE",
        help="the share of gates that are 0 at run time, from 0 to 0.99; default: about 0.5",
    )
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> None:
    from ..weights.synthesize import synthesize

    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}, expected 0 or more")
    folder = synthesize(
        args.preset,
        args.output,
        layers=args.layers,
        ffn_zeros=args.ffn_zeros,
        seed=args.seed,
        progress=sys.stderr.isatty(),
    )
    print(folder)
