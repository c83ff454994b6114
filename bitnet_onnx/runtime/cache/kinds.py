"""The kinds of caches that a session can have, by transformers' names (``cache_implementation``).

Knows their names and what each needs; does not know their steps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...artifact import Artifact
from ...errors import GenerationError
from ..graph import attention_windows
from .growing import Cache
from .layout import CacheLayout
from .offloaded import OffloadedCache
from .rotation import Rotation
from .sink import SinkCache
from .sliding import FREEING, SlidingCache

__all__ = ["CACHES", "PASSING", "SINKS", "cache_kind", "caches_of"]

CACHES = ("dynamic", "static", "offloaded", "offloaded_static", "sliding_window", "sink")
STATIC = ("static", "offloaded_static")  # all room at the start: no step moves a buffer
FILED = ("offloaded", "offloaded_static")
PASSING = ("sink", "sliding_window")  # whose first positions go away
# transformers' other names of a cache that makes the same numbers.
SAME = {"dynamic_full": "dynamic", "hybrid": "dynamic"}
SINKS = 4  # first positions that are kept, as in StreamingLLM
REFUSED = {
    "quantized": "the type of a cache is chosen at export: bitnet-onnx export --kv-cache int8|int4",
    "paged": "each row has a buffer of its own; take dynamic",
    "hybrid_chunked": "no network here attends in chunks; take dynamic",
    "offloaded_hybrid": "take offloaded",
    "offloaded_hybrid_chunked": "take offloaded",
}


def cache_kind(name: str, value: Any) -> str:
    """Return the kind of a cache by its name here or in transformers, or refuse it by name."""
    kind = SAME.get(value, value) if isinstance(value, str) else value
    if not isinstance(kind, str) or kind not in CACHES:
        raise GenerationError(
            f"{name} is {value!r}, expected one of: {', '.join(CACHES)}",
            hint=REFUSED.get(kind) if isinstance(kind, str) else None,
        )
    return kind


def caches_of(
    artifact: Artifact,
    kind: str = CACHES[0],
    sinks: int | None = None,
    *,
    folder: str | Path | None = None,
    library: bool = True,
) -> Callable[[int], Cache]:
    """Return what makes the caches of a kind, for a number of rows.

    folder: where the files of an offloaded cache lie. library: whether the library's kernels
    compute attention.
    """
    if sinks is not None and kind != "sink":
        raise GenerationError(f"sinks is {sinks} for a {kind} cache, expected a sink cache")
    if folder is not None and kind not in FILED:
        raise GenerationError(
            f"cache_dir is {str(folder)!r} for a {kind} cache, expected an offloaded cache"
        )
    if not isinstance(folder, (str, Path, type(None))):
        raise GenerationError(f"cache_dir is {folder!r}, expected a path")
    layout = CacheLayout.of(artifact)
    if kind == "sink":
        rotation = Rotation.of(artifact)
        return lambda rows: SinkCache(layout, rotation, SINKS if sinks is None else sinks, rows)
    if kind == "sliding_window":
        windows = _windows(artifact, library)
        return lambda rows: SlidingCache(layout, windows, rows)
    place = None if folder is None else Path(folder)

    def make(rows: int) -> Cache:
        cache = OffloadedCache(layout, place, rows) if kind in FILED else Cache(layout, rows)
        if kind in STATIC:
            cache.reserve(layout.context_length)
            cache.keeps_room = True
        return cache

    return make


def _windows(artifact: Artifact, library: bool) -> dict[int, int]:
    """Return the windows of an artifact's layers; refuse where they cannot save memory."""
    reason = None
    if not library:
        reason = "ONNX Runtime's own operators read all positions, also those before a window"
    elif FREEING is None:
        reason = "this system does not take back the memory of single pages"
    elif not (windows := attention_windows(artifact.model_path.read_bytes())):
        reason = "no layer of the network has a window"
    if reason is not None:
        raise GenerationError(
            f"cache is 'sliding_window', but {reason}, expected another cache",
            hint="take dynamic, which makes the same numbers",
        )
    return windows
