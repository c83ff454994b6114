"""Measure decode tokens/s by context, batch, threads and layers; write a table and a plot.

``python -m benchmarks.cost`` makes missing models under --work, and writes cost.md, cost.json and
cost.svg there. The tokens/s of a batch are those of all rows together.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter

import numpy as np

from bitnet_onnx.runtime.session import Session

from .peers import machine, made
from .plots import figure

AXES = {
    "context": [128, 512, 1024, 2048, 4096],
    "batch": [1, 2, 4, 8],
    "threads": [1, 2],
    "layers": [5, 10, 20, 30],
}
CONTEXT, THREADS = 128, 2  # used on the other axes


def rate(session: Session, context: int, batch: int, new: int) -> float:
    """Return tokens/s of ``new`` steps; the last sees ``context + new`` positions at most."""
    start_at = min(context, session.context_length - new)
    ids = np.random.default_rng(0).integers(3, session.vocab_size, start_at).tolist()
    session.reset(batch)
    for row in range(batch):
        session.prefill(ids, row)
    tokens = ids[:batch]
    session.decode(tokens)  # it maps the weights into memory
    start = perf_counter()
    for _ in range(new - 1):
        tokens = session.decode(tokens).argmax(axis=1).tolist()
    return batch * (new - 1) / (perf_counter() - start)


def table(rates: dict[str, dict[int, list[float]]]) -> str:
    """Return Markdown: a line for each value of each axis, with median and range."""
    lines = ["| what changes | value | decode, tokens/s |", "|---|---|---|"]
    for axis, values in rates.items():
        for value, found in values.items():
            low, middle, high = min(found), statistics.median(found), max(found)
            lines.append(f"| {axis} | {value} | {middle:.1f} ({low:.1f} to {high:.1f}) |")
    return "\n".join(lines) + "\n"


def plot(rates: dict[str, dict[int, list[float]]], path: Path) -> None:
    drawn = figure(3 * len(rates), 3)
    for axes, (axis, values) in zip(drawn.subplots(1, len(rates)), rates.items(), strict=True):
        for run in zip(*values.values(), strict=True):
            axes.plot(list(values), run, ".", color="0.7")
        axes.plot(list(values), [statistics.median(found) for found in values.values()], "-o")
        axes.set(xlabel=axis, ylabel="tokens/s", ylim=(0, None), xticks=list(values))
        axes.tick_params(axis="x", rotation=45)
    drawn.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=33, help="steps of each measurement")
    parser.add_argument("--head", default="two-step")
    parser.add_argument("--ffn-zeros", type=float, default=0.5)
    args = parser.parse_args()
    rates: dict[str, dict[int, list[float]]] = {a: {v: [] for v in AXES[a]} for a in args.axes}
    for _ in range(args.rounds):
        for axis in args.axes:
            for value in AXES[axis]:
                layers = value if axis == "layers" else 30
                model = made(args.work, "ours", args.head, args.ffn_zeros, layers)
                session = Session(model, threads=value if axis == "threads" else THREADS)
                context = value if axis == "context" else CONTEXT
                found = rate(session, context, value if axis == "batch" else 1, args.new)
                rates[axis][value].append(found)
    text = f"{machine()}; otherwise context {CONTEXT}, {THREADS} threads.\n\n{table(rates)}"
    (args.work / "cost.md").write_text(text)
    (args.work / "cost.json").write_text(json.dumps({"machine": machine(), **rates}, indent=2))
    print(text)
    plot(rates, args.work / "cost.svg")


if __name__ == "__main__":
    main()
