"""``bitnet-onnx web``: serve the page for browsers with an artifact."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "serve the page for browsers with an artifact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, help="a folder made by: export --target stock")
    parser.add_argument("--host", default="127.0.0.1", help="default: only this machine")
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="also answer to this host name, as of a proxy; can be given again",
    )
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free port")


def run(args: argparse.Namespace) -> None:
    from ..serve.page import serve

    serve(args.artifact, args.host, args.port, args.allow_host)
