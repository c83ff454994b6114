"""Work over the nodes of a Ray cluster: Ray Data gives blocks of it to actors with their models.

Blocks and results travel through Ray's store, so only the artifacts must be on the nodes, or are
sent to them. What a lost node had in work is done again elsewhere; each result comes once. Knows
Ray; does not know what the work is.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow
import ray
from ray.data import ActorPoolStrategy, DataContext

from .artifact import Artifact
from .errors import BitNetError, ConfigError
from .places import Work

__all__ = ["Cluster", "Nodes", "Opened", "connected"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Opened = Callable[..., Any]
"""A function of a module, or a ``partial`` of one, of folders and ``threads``: their models."""

SHARES = 8  # blocks for each actor, at least: they differ in the time they take
IN_WORK = 2  # blocks of an actor: one waits, so that none waits for one


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is, and whether the artifacts are sent to it."""

    address: str
    ships: bool = False


class Nodes:
    """The nodes of a cluster, to which this process is connected; as a place of one set of models.

    ``each`` is that of ``places.Place``.
    """

    def __init__(
        self, ships: bool, threads: int, artifacts: Sequence[Artifact], opened: Opened
    ) -> None:
        """threads: of an actor; 0 for those of the smallest node. Raises ConfigError."""
        self.threads, self.actors = _shares(threads)
        self._artifacts, self._opened = artifacts, opened
        self._files = [_sent(artifact.folder) for artifact in artifacts] if ships else None

    def share(self, count: int, most: int | None = None) -> int:
        """Return how many of ``count`` items a block has, so that all actors end together."""
        size = max(count // (SHARES * self.actors), 1)
        return size if most is None else min(size, most)

    def each(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        size = self.share(len(items))
        blocks = (items[start : start + size] for start in range(0, len(items), size))
        for number, results in self.blocks(partial(_all, work), blocks):
            yield from enumerate(results, number * size)

    def blocks(
        self, work: Work[Item, Result], blocks: Iterable[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number and the result of each block, once."""
        placed: list[Any] = [ray.put(_row(number, block)) for number, block in enumerate(blocks)]
        results = ray.data.from_arrow_refs(placed).map_batches(
            _Actor,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=self.threads,
            compute=ActorPoolStrategy(
                min_size=1,
                max_size=self.actors,
                initial_size=self.actors,
                max_tasks_in_flight_per_actor=IN_WORK,
            ),
            fn_constructor_kwargs={
                "folders": [str(artifact.folder) for artifact in self._artifacts],
                "fingerprints": [artifact.fingerprint for artifact in self._artifacts],
                "files": self._files,
                "opened": partial(self._opened, threads=self.threads),
                "work": work,
            },
        )
        left = set(range(len(placed)))
        for batch in results.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            pairs = zip(batch["number"].to_pylist(), batch["value"], strict=True)
            for number, value in pairs:
                if number in left:  # a block that was lost on its way may come twice
                    left.remove(number)
                    yield number, pickle.loads(value.as_buffer())
        if left:
            raise BitNetError(
                f"{len(left)} blocks of work came back without a result, expected none",
                hint="run the same command again",
            )


class _Actor:
    """Models on a node, and what is done with them."""

    def __init__(
        self,
        folders: list[str],
        fingerprints: list[str],
        files: list[dict[str, Any]] | None,
        opened: Callable[[list[Path]], Any],
        work: Work[Any, Any],
    ) -> None:
        self._received = None if files is None else TemporaryDirectory(prefix="bitnet-onnx-")
        places = [Path(folder) for folder in folders]
        if self._received is not None and files is not None:
            root = Path(self._received.name)
            places = [root / str(number) / place.name for number, place in enumerate(places)]
            for place, contents in zip(places, files, strict=True):
                for file, content in contents.items():
                    (place / file).parent.mkdir(parents=True, exist_ok=True)
                    (place / file).write_bytes(ray.get(content))
        for place, fingerprint in zip(places, fingerprints, strict=True):
            _check(place, fingerprint)
        self._models, self._work = opened(places), work

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        found = [
            (number, self._work(self._models, pickle.loads(value.as_buffer())))
            for number, value in zip(table["number"].to_pylist(), table["value"], strict=True)
        ]
        return pyarrow.concat_tables([_row(*each) for each in found])


def _all(work: Work[Item, Result], models: Any, items: Sequence[Item]) -> list[Result]:
    return [work(models, item) for item in items]


def _check(place: Path, fingerprint: str) -> None:
    """Raise ConfigError where a node lacks the artifact."""
    if not place.is_dir():
        raise ConfigError(
            f"a node has no folder {place}, expected the artifact there", hint="add --ship"
        )
    if Artifact.open(place).fingerprint != fingerprint:
        raise ConfigError(
            f"{place} is another artifact on a node, expected the same one", hint="add --ship"
        )


def _row(number: int, value: Any) -> pyarrow.Table:
    packed = pyarrow.array([pickle.dumps(value)], pyarrow.large_binary())
    return pyarrow.table({"number": [number], "value": packed})


def _sent(folder: Path) -> dict[str, Any]:
    """Put an artifact's files into Ray's store; return where each is."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): ray.put(path.read_bytes()) for path in paths}


def _shares(threads: int) -> tuple[int, int]:
    """Return the threads of an actor, and how many actors the nodes have room for."""
    attached: Any = ray
    cores = [int(node["Resources"].get("CPU", 0)) for node in attached.nodes() if node["Alive"]]
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
def connected(
    cluster: Cluster, threads: int, artifacts: Sequence[Artifact], opened: Opened
) -> Iterator[Nodes]:
    """Use a cluster; explain in a sentence what goes wrong with it.

    opened: how an actor opens the artifacts, of which it has as many threads.
    """
    was_connected = ray.is_initialized()
    try:
        if not was_connected:
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {cluster.address!r}: {_first_line(error)}",
            hint="start one with: ray start --head",
        ) from error
    context = DataContext.get_current()
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield Nodes(cluster.ships, threads, artifacts, opened)
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, BitNetError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is not None:
            raise BitNetError(str(cause), hint=getattr(cause, "hint", None)) from error
        raise BitNetError(
            f"the cluster failed, expected it to answer: {_first_line(error)}",
            hint="run the same command again",
        ) from error
    finally:
        context.enable_progress_bars = shown
        if not was_connected:
            ray.shutdown()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
