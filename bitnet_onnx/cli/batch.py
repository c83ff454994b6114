"""``bitnet-onnx batch``: answer a file of requests of OpenAI's form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .arguments.cluster import THREADS, add_cluster, cluster_of
from .common import add_output, check_least, print_json, say
from .progress import redraw

HELP = "answer a file of requests"
DESCRIPTION = (
    "Answer a file of requests in OpenAI's form for batches, each line once, whatever ends the"
    " command: the same command goes on where it was. The exit code is 1 where a line has an error"
    " for its answer. docs/batch.md has the form of lines."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "artifact",
        help="a folder made by: bitnet-onnx export; NAME=FOLDER gives the name that lines call the"
        " model by, which else is the folder's",
    )
    parser.add_argument("input", type=Path, help="JSON lines, or a .parquet file")
    add_output(parser, "JSON lines, or a .parquet file,")
    parser.add_argument("--threads", type=int, default=0, help=THREADS)
    parser.add_argument(
        "--rows", type=int, default=8, help="answers that are made at a time; default: 8"
    )
    parser.add_argument(
        "--prefix-cache",
        type=int,
        default=1 << 28,
        help=f"bytes of memory for the beginnings of prompts; default: {1 << 28}",
    )
    parser.add_argument(
        "--context", type=int, help="tokens of a prompt and its answer; default: the artifact's"
    )
    add_cluster(parser)


def run(args: argparse.Namespace) -> int:
    check_least(args, 1, "rows", "context")
    check_least(args, 0, "prefix_cache", "threads")
    report = _answered(args, cluster_of(args))
    counts = {"total": report.total, "completed": report.done - report.errors}
    print_json({**counts, "failed": report.errors})
    return int(report.errors > 0)


def _answered(args: argparse.Namespace, cluster: Any) -> Any:
    from ..serve.bulk.report import Report
    from ..serve.bulk.tables import as_lines, as_table
    from ..serve.models import Limits, named_folders

    ((name, folder),) = named_folders([args.artifact]).items()
    limits = Limits(
        rows=args.rows,
        context=args.context,
        prefix_cache=args.prefix_cache,
        threads=args.threads,
    )
    on_terminal = sys.stderr.isatty()
    report = Report(redraw if on_terminal else say, 1.0 if on_terminal else 10.0)
    with as_lines(args.input, args.output) as source, as_table(args.output) as target:
        if cluster is None:
            from ..serve.bulk.job import run_model

            run_model(name, folder, limits, source, target, report)
        else:
            from ..serve.bulk.cluster import run_cluster

            run_cluster(cluster, name, folder, limits, source, target, report)
    if on_terminal:
        say("")
    return report
