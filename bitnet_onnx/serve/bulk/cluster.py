"""A run over the nodes of a Ray cluster: Ray Data gives lines to actors, each with its session.

Lines and answers travel through Ray's store, so only the artifact must be on the nodes, or is sent
to them. What a lost node had in work is done again elsewhere; the output gets each answer once.
Knows Ray; does not know the form of lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow
import ray
from ray.data import ActorPoolStrategy, DataContext

from ...artifact import Artifact
from ...errors import BitNetError, ConfigError
from ..models import Limits
from .answers import Answers, written
from .job import Written, answer_all, opened
from .lines import Input, as_array, line_of, scanned
from .output import Output, key_of
from .report import Report

__all__ = ["Cluster", "run_cluster"]

SHARES = 8  # blocks of lines for each actor, at least: they differ in the time they take
MOST_LINES = 1000  # of a block, which is done again where its node is lost
IN_WORK = 2  # blocks of an actor: one waits, so that none waits for one


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is, and whether the artifact is sent to it."""

    address: str
    ships: bool = False


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
        if len(output.done) < len(given):
            with _connected(cluster.address):
                _answer(cluster, name, artifact, limits, given, output, report)
    report.end()


def _answer(
    cluster: Cluster,
    name: str,
    artifact: Artifact,
    limits: Limits,
    given: Input,
    output: Output,
    report: Report,
) -> None:
    threads, actors = _shares(limits.threads)
    left = len(given) - len(output.done)
    size = min(max(left // (SHARES * actors), 1), MOST_LINES)
    blocks: list[Any] = [
        ray.put(_table(window)) for window in given.windows(output.done, size) if window
    ]
    files = _sent(artifact.folder) if cluster.ships else None
    answers = ray.data.from_arrow_refs(blocks).map_batches(
        _Actor,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=threads,
        compute=ActorPoolStrategy(
            min_size=1,
            max_size=actors,
            initial_size=actors,
            max_tasks_in_flight_per_actor=IN_WORK,
        ),
        fn_constructor_kwargs={
            "name": name,
            "folder": str(artifact.folder),
            "fingerprint": artifact.fingerprint,
            "limits": replace(limits, threads=threads),
            "files": files,
        },
    )
    take, is_new = Written(output, report).add, _Once(given, output)
    for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for text in batch["answer"]:
            answer = json.loads(text.as_py())
            if is_new(key_of(answer)):
                take(answer)
    if report.done < report.total:
        raise BitNetError(
            f"{report.total - report.done} lines came back without an answer, expected none",
            hint="run the same command again: it answers them",
        )


class _Once:
    """Which lines are answered: a block that was lost on its way may come twice."""

    def __init__(self, given: Input, output: Output) -> None:
        self._keys = np.sort(as_array(given.keys))
        self._seen = np.isin(self._keys, output.done)

    def __call__(self, key: bytes) -> bool:
        place = int(np.searchsorted(self._keys, as_array(key))[0])
        is_new = not self._seen[place]
        self._seen[place] = True
        return is_new


class _Actor:
    """A session on a node, which answers blocks of lines."""

    def __init__(
        self,
        name: str,
        folder: str,
        fingerprint: str,
        limits: Limits,
        files: Mapping[str, Any] | None,
    ) -> None:
        self._received = None if files is None else TemporaryDirectory(prefix="bitnet-onnx-")
        place = Path(folder)
        if self._received is not None and files is not None:
            place = Path(self._received.name)
            for file, content in files.items():
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).write_bytes(ray.get(content))
        elif not place.is_dir():
            raise ConfigError(
                f"a node has no folder {place}, expected the artifact there", hint="add --ship"
            )
        self._answers = Answers(name, place, limits)
        if self._answers.fingerprint != fingerprint:
            raise ConfigError(
                f"{place} is another artifact on a node, expected the same one", hint="add --ship"
            )
        self._runner = asyncio.Runner()

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        pairs = zip(table["number"].to_pylist(), table["text"].to_pylist(), strict=True)
        lines = (line_of(*pair) for pair in sorted(pairs, key=lambda pair: -len(pair[1])))
        found: list[bytes] = []
        self._runner.run(
            answer_all(self._answers, lines, lambda answer: found.append(written(answer)))
        )
        return pyarrow.table({"answer": pyarrow.array(found, pyarrow.large_binary())})


def _table(window: list[tuple[int, bytes]]) -> pyarrow.Table:
    numbers, texts = zip(*window, strict=True)
    return pyarrow.table(
        {"number": list(numbers), "text": pyarrow.array(texts, pyarrow.large_binary())}
    )


def _sent(folder: Path) -> dict[str, Any]:
    """Put an artifact's files into Ray's store; return where each is."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): ray.put(path.read_bytes()) for path in paths}


def _shares(threads: int) -> tuple[int, int]:
    """Return the threads of an actor, and how many actors the nodes have room for."""
    connected: Any = ray
    cores = [int(node["Resources"].get("CPU", 0)) for node in connected.nodes() if node["Alive"]]
    cores = [count for count in cores if count]
    threads = threads or min(cores, default=1)
    actors = sum(count // threads for count in cores)
    if not actors:
        raise ConfigError(
            f"no node of the cluster has {threads} CPUs for the threads of an actor, expected one",
            hint=f"add --threads {max(cores, default=1)}",
        )
    return threads, actors


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Use a cluster; explain in a sentence what goes wrong with it."""
    was_connected = ray.is_initialized()
    try:
        if not was_connected:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address!r}: {_first_line(error)}",
            hint="start one with: ray start --head",
        ) from error
    context = DataContext.get_current()
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, BitNetError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None:
            raise BitNetError(str(cause), hint=getattr(cause, "hint", None)) from error
        raise BitNetError(
            f"the cluster failed, expected it to answer: {_first_line(error)}",
            hint="what is answered is kept; run the same command again",
        ) from error
    finally:
        context.enable_progress_bars = shown
        if not was_connected:
            ray.shutdown()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
