"""The options of commands that may compute over a Ray cluster, and what they stand for.

Knows the words of the command line; ``bitnet_onnx/cluster.py`` knows Ray.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError

if TYPE_CHECKING:
    from ...cluster import Cluster
    from ...places import Place

__all__ = ["THREADS", "add_cluster", "cluster_of", "place_of"]

THREADS = "default: one per core; with --ray, of each actor: those of the smallest node"


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray`` and ``--ship``."""
    group = parser.add_argument_group("over a cluster")
    group.add_argument(
        "--ray", metavar="ADDRESS", help="compute on the nodes of a Ray cluster; auto finds it"
    )
    group.add_argument(
        "--ship",
        action="store_true",
        help="send the artifact to the nodes; default: they have it at the same path",
    )


def cluster_of(args: argparse.Namespace) -> Cluster | None:
    """Return the cluster that is asked for, None where there is none."""
    if args.ray is None:
        if args.ship:
            raise ConfigError("--ship is given without --ray, expected both")
        return None
    from ...cluster import Cluster

    return Cluster(args.ray, args.ship)


@contextmanager
def place_of(
    args: argparse.Namespace, folders: Sequence[str | Path], opened: Any
) -> Iterator[Place | None]:
    """Yield the nodes with the artifacts of these folders; None where this process computes.

    opened: what opens them there, given the folders and ``threads``.
    """
    cluster = cluster_of(args)
    if cluster is None:
        yield None
        return
    from ...artifact import Artifact
    from ...cluster import connected

    artifacts = [Artifact.open(folder) for folder in folders]
    with connected(cluster, args.threads, artifacts, opened) as nodes:
        yield nodes
