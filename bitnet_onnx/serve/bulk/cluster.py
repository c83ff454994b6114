"""A run over the nodes of a Ray cluster: actors answer blocks of lines, each with its session.

Only this process reads and writes the files; the output gets each answer once. Knows lines and
answers; ``bitnet_onnx/cluster.py`` knows Ray.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...artifact import Artifact
from ...cluster import Cluster, connected
from ..models import Limits
from .answers import Answers, written
from .job import Written, answer_all, opened
from .lines import line_of, scanned
from .report import Report

__all__ = ["run_cluster"]

MOST_LINES = 1000  # of a block, which is done again where its node is lost


def run_cluster(
    cluster: Cluster,
    name: str,
    folder: Path,
    limits: Limits,
    source: Path,
    target: Path,
    report: Report,
) -> None:
    """Answer the lines of a file that have no answer yet. Raises BitNetError."""
    artifact = Artifact.open(folder)
    with opened(source, target) as output:
        given = scanned(source, output.before)
        output.begin(artifact.fingerprint, given)
        report.begin(len(given), len(output.done), output.errors)
        left = len(given) - len(output.done)
        if left:
            made = partial(_Answering, name, limits)
            with connected(cluster, limits.threads, [artifact], made) as nodes:
                size = nodes.share(left, MOST_LINES)
                windows = (window for window in given.windows(output.done, size) if window)
                take = Written(output, report).add
                for _, answers in nodes.blocks(_answered, windows):
                    for text in answers:
                        take(json.loads(text))
    report.end()


class _Answering:
    """A session on a node."""

    def __init__(self, name: str, limits: Limits, folders: list[Path], threads: int) -> None:
        self.answers = Answers(name, folders[0], replace(limits, threads=threads))
        self.runner = asyncio.Runner()


def _answered(models: _Answering, window: list[tuple[int, bytes]]) -> list[bytes]:
    """Return the answers to lines; the longest are begun first."""
    lines = (line_of(*pair) for pair in sorted(window, key=lambda pair: -len(pair[1])))
    found: list[bytes] = []
    models.runner.run(
        answer_all(models.answers, lines, lambda answer: found.append(written(answer)))
    )
    return found
