"""Where the time of a decode step goes: time and bytes of each kind of operator.

Knows ONNX Runtime's profile and which operators read their weights whole. Profiling makes a step
slower by a few percent, most where operators are short.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from . import native
from .artifact import Artifact
from .session import Session

__all__ = ["OperatorCost", "breakdown"]

STEPS = 24
WEIGHT_TYPES = ("uint8", "int8", "bfloat16")  # a float input may be an activation


@dataclass(frozen=True)
class OperatorCost:
    """One kind of operator in a decode step, all its nodes together; means over the steps.

    ``bytes`` are the weights, or the keys and values, that were really read.
    """

    operator: str
    calls: int
    seconds: float
    share_of_step: float
    bytes: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def breakdown(artifact: Artifact, *, threads: int, context: int) -> list[OperatorCost]:
    """Decode a few steps after ``context`` random ids with the profiler on; costliest first.

    Two rows are not operators: what ONNX Runtime spends between them, and Python with the choice
    of the id. The session must have room for ``context`` and 24 positions more.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = Session(artifact, threads=threads, profile=str(Path(folder) / "step"))
        ids = np.random.default_rng(0).integers(0, artifact.vocab_size, context).tolist()
        token = int(session.prefill(ids).argmax())
        skipped, start = native.skipped_bytes(), perf_counter()
        for _ in range(STEPS):
            token = int(session.decode([token])[0].argmax())
        step = (perf_counter() - start) / STEPS
        skipped = native.skipped_bytes().since(skipped)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    cached = context + (STEPS + 1) // 2  # positions that a step reads, on average
    width = session.cache_dtype.itemsize * artifact.head_dim
    per_position = 2 * artifact.num_key_value_heads * width
    costs = _costs(events, step, cached * per_position)
    unread = {
        "TernaryGatedMatMul": skipped.rows,
        "TernaryColumnMatMul": skipped.columns,
        "TwoStepMatMul": skipped.head,
    }
    return [
        OperatorCost(
            name,
            calls,
            seconds,
            seconds / step,
            size - unread.get(name.partition(" ")[0], 0) // STEPS,
        )
        for name, calls, seconds, size in sorted(costs, key=lambda cost: -cost[2])
    ]


def _costs(
    events: Sequence[dict[str, Any]], step: float, cache_bytes: int
) -> list[tuple[str, int, float, int]]:
    """Name, calls, seconds and bytes of a step, from the profile of a prefill and STEPS steps."""
    runs = sorted((e["ts"], e["dur"]) for e in events if e["name"] == "model_run")[-STEPS:]
    inside = statistics.fmean(duration for _, duration in runs) / 1e6
    found: dict[str, list[int]] = {}  # calls, microseconds, bytes: sums over the steps
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        if event["ts"] < runs[0][0]:
            continue  # of the prefill
        sums = found.setdefault(_name(event["args"]), [0, 0, 0])
        for i, value in enumerate((1, event["dur"], _bytes(event["args"], cache_bytes))):
            sums[i] += value
    costs = [
        (name, calls // STEPS, duration / STEPS / 1e6, size // STEPS)
        for name, (calls, duration, size) in found.items()
    ]
    between = inside - sum(seconds for _, _, seconds, _ in costs)
    return [*costs, ("between operators", 0, between, 0), ("Python", 0, step - inside, 0)]


def _name(args: dict[str, Any]) -> str:
    """The operator, with the shape of its weight where it has one, as it is stored."""
    for entry in args["input_type_shape"]:
        for dtype, shape in entry.items():
            if dtype in WEIGHT_TYPES and len(shape) > 1:
                return f"{args['op_name']} {'x'.join(map(str, shape))}"
    return str(args["op_name"])


def _bytes(args: dict[str, Any], cache_bytes: int) -> int:
    if str(args["op_name"]).startswith("GroupQueryAttention"):
        return cache_bytes
    if args["op_name"] == "Gather":  # rows of the embedding
        return int(args["output_size"])
    return int(args["parameter_size"])


def describe_breakdown(costs: Sequence[OperatorCost], bandwidth: float) -> str:
    """A table; ``bandwidth`` in bytes a second is what shares are of."""
    lines = [f"{'operator':<34} calls     ms  of step      MB   GB/s  of bandwidth"]
    for cost in costs:
        rate = cost.bytes / cost.seconds if cost.seconds > 0 else 0.0
        lines.append(
            f"{cost.operator:<34} {cost.calls:>5} {cost.seconds * 1e3:>6.2f}  "
            f"{cost.share_of_step:>7.1%} {cost.bytes / 1e6:>7.2f} {rate / 1e9:>6.1f}  "
            f"{rate / bandwidth:>12.0%}"
        )
    return "\n".join(lines)
