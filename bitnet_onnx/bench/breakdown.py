"""Break the time of a decode step down: time and bytes of each kind of operator.

Knows ONNX Runtime's profile and which operators read all their weights. The profiler costs about
10 us around each operator, so a step is also timed without it: the linears by the clocks that the
library keeps.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from .. import native
from ..artifact import Artifact
from ..runtime.graph import TWO_STEP
from ..runtime.session import Session

__all__ = ["Breakdown", "OperatorCost", "breakdown", "describe_breakdown", "linear_groups"]

STEPS = 24
ATTENTION = "GroupQueryAttention"
FEED_FORWARD = "TernaryFeedForward"
EXPERTS = ("TernaryExperts", "Bf16Experts", "Int8Experts")
WEIGHT_TYPES = ("uint8", "int8", "bfloat16")  # a float input may be an activation


@dataclass(frozen=True)
class OperatorCost:
    """All nodes of one kind of operator in a decode step: means over the faster half of steps.

    ``bytes`` are the weights, or the keys and values, that were really read: means over all steps.
    """

    operator: str
    calls: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Breakdown:
    """The operators of a step with the profiler, costliest first, and a step without the profiler.

    The faster half of 24 steps counts: other processes disturbed it least. ``ternary`` and ``head``
    belong to the step without the profiler.
    """

    step_seconds: float
    ternary: OperatorCost
    head: OperatorCost
    profiled_step_seconds: float
    costs: list[OperatorCost]

    @property
    def everything_else(self) -> float:
        """The share of the step without the profiler that is not in linears and the head."""
        return 1 - (self.ternary.seconds + self.head.seconds) / self.step_seconds

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "everything_else": self.everything_else}


def breakdown(artifact: Artifact, *, threads: int, context: int) -> Breakdown:
    """Decode a few steps after ``context`` random ids, without the profiler and with it.

    Two rows are not operators: "between operators" is ONNX Runtime and the profiler, "Python" is
    Python with the choice of the id. The context must hold ``context`` + 24 positions.
    """
    ids = np.random.default_rng(0).integers(0, artifact.vocab_size, context).tolist()
    with tempfile.TemporaryDirectory() as folder:
        counters = native.Counters()
        profile = str(Path(folder) / "step")
        session = Session(artifact, threads=threads, profile=profile, counters=counters)
        profiled = _steps(session, counters, ids)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    cached = context + (STEPS + 1) // 2  # positions that a step reads, on average
    cache_bytes = cached * session.position_bytes
    unread = {
        FEED_FORWARD: profiled.skipped.rows + profiled.skipped.columns,
        **dict.fromkeys(TWO_STEP, profiled.skipped.head),
        **dict.fromkeys(EXPERTS, profiled.skipped.experts),
    }
    costs = [
        replace(cost, bytes=cost.bytes - unread.get(cost.operator.partition(" ")[0], 0) // STEPS)
        for cost in _costs(events, profiled.seconds, cache_bytes)
    ]
    costs.sort(key=lambda cost: -cost.seconds)
    groups = linear_groups(costs)
    clocks = native.Counters()
    unprofiled = Session(artifact, threads=threads, counters=clocks)
    plain = _steps(unprofiled, clocks, ids, {_kind(c) for group in groups.values() for c in group})
    step, profiled_step = (
        statistics.fmean(steps.seconds[i] for i in faster_half(steps.seconds))
        for steps in (plain, profiled)
    )
    ternary, others = (_clocked(name, group, plain) for name, group in groups.items())
    return Breakdown(step, ternary, others, profiled_step, costs)


def linear_groups(costs: Sequence[OperatorCost]) -> dict[str, list[OperatorCost]]:
    """Return the ternary linears and the other ones, under their names in the table."""
    linears = [cost for cost in costs if _kind(cost).endswith(("MatMul", FEED_FORWARD, *EXPERTS))]
    ternary = [cost for cost in linears if _kind(cost).startswith("Ternary")]
    others = [cost for cost in linears if cost not in ternary]
    only_head = ternary and not any(_kind(cost) in EXPERTS for cost in others)
    return {"ternary linears": ternary, "head" if only_head else "float linears and head": others}


def _kind(cost: OperatorCost) -> str:
    return cost.operator.partition(" ")[0]


class _Steps(NamedTuple):
    """Seconds of each step, its seconds inside some operators, and bytes skipped in all steps."""

    seconds: list[float]
    inside: list[dict[str, float]]
    skipped: native.Skipped


def _steps(
    session: Session, counters: native.Counters, ids: list[int], operators: Collection[str] = ()
) -> _Steps:
    token = int(session.prefill(ids).argmax())
    skipped = counters.skipped()
    seconds, clocks = [], [{op: counters.seconds(op) for op in operators}]
    for _ in range(STEPS):
        start = perf_counter()
        token = int(session.decode([token])[0].argmax())
        seconds.append(perf_counter() - start)  # before the clocks are read
        clocks.append({op: counters.seconds(op) for op in operators})
    inside = [{op: after[op] - before[op] for op in after} for before, after in pairwise(clocks)]
    return _Steps(seconds, inside, counters.skipped().since(skipped))


def _clocked(name: str, group: Sequence[OperatorCost], steps: _Steps) -> OperatorCost:
    """Add up these operators, by the library's clocks, or by the profile if it has none."""
    kinds, kept = {_kind(cost) for cost in group}, faster_half(steps.seconds)
    seconds = statistics.fmean(sum(steps.inside[i][kind] for kind in kinds) for i in kept)
    return OperatorCost(
        name,
        sum(cost.calls for cost in group),
        seconds or sum(cost.seconds for cost in group),
        sum(cost.bytes for cost in group),
    )


def _costs(
    events: Sequence[dict[str, Any]], seconds: Sequence[float], cache_bytes: int
) -> list[OperatorCost]:
    """Return a step's costs, from the profile of a prefill and STEPS steps of these seconds."""
    runs = sorted((e["ts"], e["dur"]) for e in events if e["name"] == "model_run")[-STEPS:]
    starts = [start for start, _ in runs]
    calls, sizes = Counter[str](), Counter[str]()
    spent: dict[str, list[int]] = {}  # microseconds of each step
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        step = bisect_right(starts, event["ts"]) - 1
        if step < 0:
            continue  # it belongs to the prefill
        name = _name(event["args"])
        calls[name] += 1
        sizes[name] += _bytes(event["args"], cache_bytes)
        spent.setdefault(name, [0] * STEPS)[step] += event["dur"]
    kept = faster_half(seconds)
    inside = statistics.fmean(runs[step][1] for step in kept) / 1e6
    costs = [
        OperatorCost(
            name,
            calls[name] // STEPS,
            statistics.fmean(s[i] for i in kept) / 1e6,
            sizes[name] // STEPS,
        )
        for name, s in spent.items()
    ]
    between = inside - sum(cost.seconds for cost in costs)
    python = statistics.fmean(seconds[i] for i in kept) - inside
    return [
        *costs,
        OperatorCost("between operators", 0, between, 0),
        OperatorCost("Python", 0, python, 0),
    ]


def faster_half(seconds: Sequence[float]) -> list[int]:
    return sorted(range(len(seconds)), key=lambda i: seconds[i])[: (len(seconds) + 1) // 2]


def _name(args: dict[str, Any]) -> str:
    """Return the operator's name, with the stored shape of its weight if it has one."""
    if str(args["op_name"]).startswith(ATTENTION):
        return str(args["op_name"])  # its int8 input is the cache
    for entry in args["input_type_shape"]:
        for dtype, shape in entry.items():
            if dtype in WEIGHT_TYPES and len(shape) > 1:
                return f"{args['op_name']} {'x'.join(map(str, shape))}"
    return str(args["op_name"])


def _bytes(args: dict[str, Any], cache_bytes: int) -> int:
    if str(args["op_name"]).startswith(ATTENTION):
        return cache_bytes
    if args["op_name"] == "Gather":  # rows of the embedding
        return int(args["output_size"])
    return int(args["parameter_size"])


def describe_breakdown(found: Breakdown, bandwidth: float) -> str:
    """Return two tables; shares are of ``bandwidth``, in bytes a second."""
    return "\n".join(
        [
            f"{'operator':<34} calls     ms  of step      MB   GB/s  of bandwidth",
            *(_line(cost, found.profiled_step_seconds, bandwidth) for cost in found.costs),
            f"a step: {found.profiled_step_seconds * 1e3:.2f} ms",
            "",
            "without the profiler",
            *(_line(c, found.step_seconds, bandwidth) for c in (found.ternary, found.head)),
            f"a step: {found.step_seconds * 1e3:.2f} ms, of which outside linears and head: "
            f"{found.everything_else:.1%}",
        ]
    )


def _line(cost: OperatorCost, step_seconds: float, bandwidth: float) -> str:
    rate = cost.bytes / cost.seconds if cost.seconds > 0 else 0.0
    return (
        f"{cost.operator:<34} {cost.calls:>5} {cost.seconds * 1e3:>6.2f}  "
        f"{cost.seconds / step_seconds:>7.1%} {cost.bytes / 1e6:>7.2f} "
        f"{rate / 1e9:>6.1f}  {rate / bandwidth:>12.0%}"
    )
