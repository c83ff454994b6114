"""``bitnet-onnx serve``: answer requests of OpenAI's form."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import ConfigError
from .common import check_least, say

HELP = "serve artifacts with OpenAI's interface"
DESCRIPTION = (
    "Serve artifacts with OpenAI's interface: chats, completions, embeddings. docs/server.md lists"
    " the fields. SIGHUP opens the artifacts again; SIGTERM lets running answers end."
)
KEY = "BITNET_ONNX_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "artifacts",
        nargs="+",
        metavar="artifact",
        help="folders made by: bitnet-onnx export; NAME=FOLDER gives a name, which else is the "
        "folder's",
    )
    parser.add_argument("--threads", type=int, default=0, help="default: one per core")
    parser.add_argument("--host", default="127.0.0.1", help="default: only this machine")
    parser.add_argument("--port", type=int, default=8080, help="default: 8080; 0: any free port")
    parser.add_argument(
        "--api-key", help=f"what clients send as a bearer; default: {KEY} of the environment"
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="also answer to this host name, as of a proxy; can be given again",
    )
    parser.add_argument(
        "--allow-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="also answer pages of this origin, as https://chat.example; can be given again",
    )
    group = parser.add_argument_group("limits")
    for name, default, about in (
        ("--rows", 8, "answers that are made at a time, of each model"),
        ("--queue", 64, "requests that wait, of each model; further ones get 429"),
        ("--prefix-cache", 1 << 28, "bytes of memory for the beginnings of prompts"),
        ("--max-body", 8 << 20, "bytes of a request"),
        ("--timeout", 600, "seconds of a request"),
        ("--drain", 30, "seconds that running answers have after SIGTERM"),
    ):
        group.add_argument(name, type=int, default=default, help=f"{about}; default: {default}")
    group.add_argument(
        "--prefix-folder",
        type=Path,
        help="a folder for those beginnings, which are written at the end and read again; default:"
        " none",
    )
    group.add_argument(
        "--context", type=int, help="tokens of a prompt and its answer; default: the artifact's"
    )
    parser.add_argument("--no-log", action="store_true", help="print no line for each request")


def run(args: argparse.Namespace) -> None:
    key = os.environ.get(KEY) if args.api_key is None else args.api_key
    if key is not None and (not key.isascii() or not key.isprintable() or " " in key or not key):
        raise ConfigError("the API key is empty or has blanks or other letters, expected ASCII")
    check_least(args, 1, "rows", "timeout", "max_body", "context", "drain")
    check_least(args, 0, "queue", "prefix_cache")
    from ..serve.models import Limits, named_folders
    from ..serve.run import Site, check_site, serve
    from ..serve.state import State

    limits = Limits(
        rows=args.rows,
        queue=args.queue,
        context=args.context,
        prefix_cache=args.prefix_cache,
        prefix_folder=args.prefix_folder,
        seconds=args.timeout,
        body=args.max_body,
        threads=args.threads,
    )
    site = Site(args.host, args.port, args.allow_host, args.allow_origin)
    folders = named_folders(args.artifacts)
    check_site(site)
    state = State(folders, limits, key)
    if key is None and not site.is_loopback:
        say(
            f"warning: {args.host} can be reached from other machines, and there is no API key:"
            f" anybody there can use the server; give --api-key, or set {KEY}"
        )
    say("The models are ready: " + ", ".join(state.models))
    serve(state, site, args.drain, (lambda line: None) if args.no_log else None)
