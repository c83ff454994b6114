"""As much of Ray as a run over a cluster calls, in this process: two nodes, one of which is lost.

Blocks come back in another order than they were given, and one of them twice, as where its node was
lost on the way. What is sent to actors is pickled, as Ray does. Knows no bitnet_onnx.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

__all__ = ["RayError", "use_local_ray"]


class RayError(Exception):
    """The error that actors' errors are wrapped in, as their ``cause``."""


class Blocks:
    """A data set of blocks."""

    def __init__(self, tables: list[Any]) -> None:
        self._tables = tables
        self._call: Callable[[], Any] = dict

    def map_batches(self, actor: type, *, fn_constructor_kwargs: Any, **_: Any) -> Blocks:
        sent = pickle.dumps(fn_constructor_kwargs)
        self._call = lambda: actor(**pickle.loads(sent))
        return self

    def iter_batches(self, **_: Any) -> Iterator[Any]:
        try:
            actors = [self._call() for _ in range(2)]
            found = [actors[n % 2](table) for n, table in enumerate(self._tables)]
        except Exception as error:
            wrapped = RayError("Traceback")
            wrapped.cause = error  # type: ignore[attr-defined]
            raise wrapped from None
        yield from reversed(found)
        yield found[0]


def use_local_ray(patch: pytest.MonkeyPatch, cores: tuple[int, ...] = (1, 1)) -> Any:
    """Let ``import ray`` give this; return it. cores: of the nodes."""
    nodes = [{"Alive": True, "Resources": {"CPU": float(count)}} for count in cores]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    connected: list[str] = []

    def init(address: str, **_: Any) -> None:
        if address == "nowhere":
            raise ConnectionError("Could not find any running Ray instance.\nLook again.")
        connected.append(address)

    ray: Any = ModuleType("ray")
    ray.init, ray.shutdown, ray.is_initialized = init, connected.clear, lambda: bool(connected)
    ray.put = ray.get = lambda value: value
    ray.nodes = lambda: nodes
    ray.exceptions = SimpleNamespace(RayError=RayError)
    ray.data = ModuleType("ray.data")
    ray.data.from_arrow_refs = Blocks
    ray.data.ActorPoolStrategy = dict
    context = SimpleNamespace(enable_progress_bars=True)
    ray.data.DataContext = SimpleNamespace(get_current=lambda: context)
    for name, module in {"ray": ray, "ray.data": ray.data}.items():
        patch.setitem(sys.modules, name, module)
    for name in ("bitnet_onnx.cluster", "bitnet_onnx.serve.bulk.cluster"):
        patch.setitem(sys.modules, name, ray)  # so that it is as before, also where it was missing
        patch.delitem(sys.modules, name)
    return ray
