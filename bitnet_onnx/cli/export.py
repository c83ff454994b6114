"""``bitnet-onnx export``: export a checkpoint to an artifact folder."""

from __future__ import annotations

import argparse
import sys

from ..errors import ConfigError
from .common import add_checkpoint, add_output, opened_checkpoint, say

HELP = "export a checkpoint to an artifact folder"
OPTIONS = (
    "target",
    "head",
    "linears",
    "kv_cache",
    "context_length",
    "pooling",
    "outputs",
)  # of export(), whose defaults hold
CHOSEN = {  # why, where --linears is not given
    "bf16": "bfloat16 holds every weight of the checkpoint",
    "float32": "bfloat16 does not hold every weight of the checkpoint; --linears bf16 rounds them",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    add_output(parser, "the folder")
    parser.add_argument(
        "--for",
        dest="device",
        choices=("android", "ios", "board", "web"),
        help="sets target, head, cache and context as such a device wants them, and prints the "
        "size, the expected memory and the predicted tokens/s; options that are given win",
    )
    parser.add_argument(
        "--target",
        help="native: uses the custom-op library (default); stock: uses only ONNX Runtime's own "
        "operators, for browsers and runtimes that cannot load a library",
    )
    parser.add_argument(
        "--head",
        help="bf16: the checkpoint's own bits (default); float32: for tables that do not fit bf16; "
        "two-step: the 64 largest logits of bf16, found by an int8 scan with a proven bound; "
        "two-step-int6: the same from a 6-bit scan, also proven, faster for one text at a time; "
        "two-step-int4: the same from a 4-bit scan, with a statistical bound; int8, int6, int4: "
        "rounded to so many bits a weight, which changes ids",
    )
    parser.add_argument(
        "--linears",
        help="of a network with float linears, or with group scales and float activations, whose "
        "linears it makes float; bf16: the checkpoint's own bits (default where bfloat16 holds its "
        "weights, else they are rounded); float32 (default elsewhere); int8: 8 bits a weight with "
        "a scale for each row, and 16-bit activations, which changes ids",
    )
    parser.add_argument(
        "--kv-cache",
        help="the type of cached keys and values; float32: unrounded (default); float16: half the "
        "memory; int8: about a quarter, and the fastest at long contexts; int4: "
        "a seventh, and the coarsest",
    )
    parser.add_argument(
        "--context-length", type=int, help="the largest number of positions; default: the config's"
    )
    parser.add_argument(
        "--pooling",
        help="of a network that embeds texts: last, the vector of the last token, or mean; "
        "default: what the checkpoint says, or else last",
    )
    parser.add_argument(
        "--outputs",
        help="logits (default); hidden-states: also those of each layer, which contrastive search "
        "and DoLa need",
    )


def run(args: argparse.Namespace) -> None:
    from ..artifact import EMBEDDING, Artifact
    from ..exporter.chat.file import why_no_chat
    from ..exporter.devices import expectations, wanted
    from ..exporter.export import export
    from ..exporter.pooling import notes

    checkpoint = opened_checkpoint(args)
    embeds = checkpoint.config.record.task == EMBEDDING
    if embeds and args.device is not None:
        raise ConfigError(
            f"--for is {args.device!r}, but {args.checkpoint} embeds texts, expected a network "
            "that generates",
            hint="leave --for out; --target stock needs no library",
        )
    for note in notes(checkpoint, args.pooling):
        say(f"note: {note}")
    given = {name: getattr(args, name) for name in OPTIONS}
    if args.device is not None:
        given = wanted(args.device, checkpoint.config, given)
    options = {name: value for name, value in given.items() if value is not None}
    folder = export(checkpoint, args.output, progress=sys.stderr.isatty(), **options)
    artifact = Artifact.open(folder)
    if artifact.linears in CHOSEN and args.linears is None and args.device is None:
        say(f"note: the linears are {artifact.linears}: {CHOSEN[artifact.linears]}")
    page = args.device == "web"
    if not embeds and (reason := why_no_chat(folder, jinja=page)):
        app = "the page" if page else "apps without Python"
        say(f"note: {app} cannot chat with this model: {reason}")
    if args.device is not None:
        for line in expectations(args.device, checkpoint.config, artifact):
            say(line)
    print(folder)
