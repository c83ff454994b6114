"""/v1/models, /health and /metrics: what the server is and does.

Knows counters; does not know requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from ..models import Served
from ..state import State
from .common import answer, state_of
from .errors import ApiError

__all__ = ["health", "metrics", "model", "models"]

# llama.cpp's names, which say what is counted here, too.
COUNTERS = {
    "prompt_tokens": ("tokens of prompts that were computed", "computed"),
    "prompt_seconds": ("seconds in which they were", "prefill_seconds"),
    "tokens_predicted": ("tokens that were generated", "new_tokens"),
    "tokens_predicted_seconds": ("seconds in which they were", "decode_seconds"),
    "n_decode": ("steps of the batch", "steps"),
}
GAUGES = {
    "n_busy_slots_per_decode": ("answers in a step, on average", "busy"),
    "prompt_tokens_seconds": ("tokens of prompts a second", "prompt_speed"),
    "predicted_tokens_seconds": ("generated tokens a second", "speed"),
    "requests_processing": ("answers that are made", "running"),
    "requests_deferred": ("requests that wait", "queued"),
}
# What llama.cpp does not count.
OWN_COUNTERS = {
    "cached_tokens": ("tokens of prompts that were found in the cache", "cached_tokens"),
    "drafted_tokens": ("tokens that were drafted and checked", "drafted_tokens"),
    "accepted_tokens": ("those of them that were kept", "accepted_tokens"),
}
OWN_GAUGES = {"prefix_cache_bytes": ("bytes that prompts' beginnings take", "prefix_bytes")}


async def health(request: Request) -> Response:
    """Say that the server answers; 503 while it stops."""
    if state_of(request).stopping:
        raise ApiError(503, "the server is stopping", code="stopping")
    return answer({"status": "ok"})


async def models(request: Request) -> Response:
    """List the models by name."""
    found = state_of(request).models
    return answer({"object": "list", "data": [_described(each) for each in found.values()]})


async def model(request: Request) -> Response:
    """Describe one model."""
    name = request.path_params["name"]
    found = state_of(request).models.get(name)
    if found is None:
        raise ApiError(
            404,
            f"the model {name!r:.80} is not served, expected one that /v1/models lists",
            param="model",
            code="model_not_found",
        )
    return answer(_described(found))


async def metrics(request: Request) -> Response:
    """Return the counters in Prometheus' form."""
    registry = CollectorRegistry()
    registry.register(_Counters(state_of(request)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _described(served: Served) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "bitnet-onnx",
        "max_model_len": served.context,
    }


class _Counters(Collector):
    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        numbers = {served.name: _numbers(served.scheduler.stats) for served in
                   self._state.generating}  # fmt: skip
        for prefix, counters, gauges in (
            ("llamacpp:", COUNTERS, GAUGES),
            ("bitnet_onnx:", OWN_COUNTERS, OWN_GAUGES),
        ):
            for made, table in ((CounterMetricFamily, counters), (GaugeMetricFamily, gauges)):
                for name, (about, source) in table.items():
                    family = made(prefix + name, about, labels=["model"])
                    for model_name, found in numbers.items():
                        family.add_metric([model_name], found[source])
                    yield family
        ended = CounterMetricFamily(
            "bitnet_onnx:requests", "answers by how they ended", labels=["model", "reason"]
        )
        for served in self._state.generating:
            for reason, count in served.scheduler.stats.requests.items():
                ended.add_metric([served.name, reason], count)
        yield ended


def _numbers(stats: Any) -> dict[str, float]:
    computed = stats.prompt_tokens - stats.cached_tokens
    return {
        **{name: getattr(stats, name) for name in (
            "prefill_seconds", "decode_seconds", "new_tokens", "steps", "running", "queued",
            "cached_tokens", "drafted_tokens", "accepted_tokens", "prefix_bytes",
        )},
        "computed": computed,
        "busy": stats.row_steps / max(stats.steps, 1),
        "prompt_speed": computed / stats.prefill_seconds if stats.prefill_seconds else 0.0,
        "speed": stats.new_tokens / stats.decode_seconds if stats.decode_seconds else 0.0,
    }  # fmt: skip
