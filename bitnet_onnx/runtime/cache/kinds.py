"""The kinds of caches that a session can have, by transformers' names (``cache_implementation``).

Knows their names and what each needs; does not know their steps.
"""

from __future__ import annotations

from collections.abc import Callable

from ...artifact import Artifact
from ...errors import GenerationError
from .growing import Cache
from .layout import CacheLayout
from .rotation import Rotation
from .sink import SinkCache

__all__ = ["CACHES", "SINKS", "caches_of"]

CACHES = ("dynamic", "static", "sink")
SINKS = 4  # first positions that are kept, as in StreamingLLM
REFUSED = {
    "quantized": "the type of a cache is chosen at export, by --kv-cache",
    "sliding_window": "all layers of a graph share the positions of one cache",
    "hybrid": "all layers of a graph share the positions of one cache",
    "paged": "each row has a buffer of its own",
}


def caches_of(
    artifact: Artifact, kind: str = CACHES[0], sinks: int | None = None
) -> Callable[[int], Cache]:
    """Return what makes the caches of a kind, for a number of rows."""
    if kind not in CACHES:
        raise GenerationError(
            f"cache is {kind!r}, expected one of: {', '.join(CACHES)}",
            hint=REFUSED.get(kind) if isinstance(kind, str) else None,
        )
    if sinks is not None and kind != "sink":
        raise GenerationError(f"sinks is {sinks} for a {kind} cache, expected a sink cache")
    layout = CacheLayout.of(artifact)
    if kind == "sink":
        rotation = Rotation.of(artifact)
        return lambda rows: SinkCache(layout, rotation, SINKS if sinks is None else sinks, rows)

    def make(rows: int) -> Cache:
        cache = Cache(layout, rows)
        if kind == "static":  # all room at the start: no step moves a buffer
            cache.reserve(layout.context_length)
        return cache

    return make
