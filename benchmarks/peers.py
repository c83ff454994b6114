"""Compare bitnet_onnx with other engines, on the same random weights, in turns in one sitting.

``python -m benchmarks.peers`` makes missing models under --work, measures every engine with every
number of threads once in each round, and writes peers.md, peers.json and peers.svg there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .engines import ENGINES, quantize_head
from .plots import figure

PACKAGES = {"llama.cpp": "llama_cpp", "transformers": "transformers"}
LABELS = {
    "ours": "bitnet_onnx, {head} head",
    "stock": "ONNX Runtime alone (--target stock), int8 head",
    "llama.cpp": "llama.cpp, TQ2_0, Q6_K head",
    "transformers": "transformers, bfloat16",
}
FEW = 8  # new tokens of transformers, which takes seconds for each token
DISTURBED = 0.2  # cores kept busy by others, from which a measurement is repeated


def run(*arguments: str | Path) -> str:
    """Run a module and return its stdout; where it fails, print its last error and exit with 2."""
    command = [sys.executable, "-m", *map(str, arguments)]
    print("$", shlex.join(command[1:]), file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        say = (lines or done.stderr.splitlines() or ["no message"])[-1]
        print(f"error: {shlex.join(command[2:])}: {say}", file=sys.stderr)
        raise SystemExit(2)
    return done.stdout


def chosen(names: Sequence[str] | None) -> list[str]:
    """Return the named engines, or all installed ones; print the missing ones to stderr."""
    missing = [n for n, package in PACKAGES.items() if find_spec(package) is None]
    for name in missing if names is None else [n for n in names if n in missing]:
        what = f"{name} is not installed: pip install 'bitnet-onnx[bench]'"
        if names is not None:
            print(f"error: {what}", file=sys.stderr)
            raise SystemExit(2)
        print(f"note: {what}; it is left out", file=sys.stderr)
    return [n for n in ENGINES if (n in names if names is not None else n not in missing)]


def made(work: Path, engine: str, head: str, zeros: float, layers: int = 30) -> Path:
    """Return the engine's model of the 2B-4T shape; make it where it does not exist."""
    root = work / f"zeros{zeros:g}-layers{layers}"
    checkpoint = root / "checkpoint"
    if not checkpoint.exists():
        shape = ("--preset", "2b-4t", "--layers", str(layers), "--ffn-zeros", f"{zeros:g}")
        run("bitnet_onnx", "synthesize", *shape, "-o", checkpoint)
    if engine == "transformers":
        return checkpoint
    path = root / ({"llama.cpp": "tq2_0-q6_k.gguf", "stock": "stock"}.get(engine, f"ours-{head}"))
    if path.exists():
        return path
    if engine == "llama.cpp":
        from bitnet_onnx.weights.gguf.write import write_gguf
        from bitnet_onnx.weights.open import open_checkpoint

        whole = write_gguf(root / "tq2_0.gguf", open_checkpoint(checkpoint), llama_cpp=True)
        quantize_head(str(whole), str(root / "unfinished"))
        whole.unlink()
        return (root / "unfinished").rename(path)
    options = ("int8", "--target", "stock") if engine == "stock" else (head,)
    run("bitnet_onnx", "export", checkpoint, "-o", path, "--head", *options)
    return path


def measured(engine: str, model: Path, threads: int, new: int, retries: int) -> dict[str, Any]:
    """Measure once; repeat while others disturb it, and return the least disturbed measurement."""
    options = ("--threads", str(threads), "--new", str(FEW if engine == "transformers" else new))
    results = []
    for _ in range(1 + retries):
        results.append(json.loads(run("benchmarks.engines", engine, model, *options)))
        if (results[-1]["others"] or 0) < DISTURBED:
            break
    best = min(results, key=lambda result: result["others"] or 0)
    return {"engine": engine, "threads": threads, **best}


def spread(values: Sequence[float]) -> str:
    """Return median and range as text."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(results: Sequence[dict[str, Any]], head: str, new: int) -> str:
    """Return Markdown: a row for each engine and number of threads, with medians and ranges."""
    lines = [
        f"| engine | threads | decode, 128 to {128 + new}, tokens/s | prefill of 512, tokens/s |"
        " peak MB | runs | disturbed |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine, threads in dict.fromkeys((r["engine"], r["threads"]) for r in results):
        runs = [r for r in results if (r["engine"], r["threads"]) == (engine, threads)]
        decode, prefill = (spread([r[what] for r in runs]) for what in ("decode", "prefill"))
        peak = statistics.median(r["peak_rss_bytes"] for r in runs) / 1e6
        label = LABELS[engine].format(head=head)
        disturbed = sum((r["others"] or 0) >= DISTURBED for r in runs)
        cells = (label, threads, decode, prefill, f"{peak:.0f}", len(runs), disturbed)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def plot(results: Sequence[dict[str, Any]], head: str, path: Path) -> None:
    """Plot medians as bars, with the ranges over the rounds."""
    rows = list(dict.fromkeys((r["engine"], r["threads"]) for r in results))[::-1]
    names = [f"{LABELS[engine].format(head=head)}, {threads} thr." for engine, threads in rows]
    drawn = figure(10, 0.8 + 0.35 * len(rows))
    titles = {"decode": "decode, tokens/s", "prefill": "prefill of 512, tokens/s"}
    for axes, (what, title) in zip(drawn.subplots(1, 2, sharey=True), titles.items(), strict=True):
        runs = [[r[what] for r in results if (r["engine"], r["threads"]) == row] for row in rows]
        medians = [statistics.median(values) for values in runs]
        ranges = [
            [middle - min(values) for middle, values in zip(medians, runs, strict=True)],
            [max(values) - middle for middle, values in zip(medians, runs, strict=True)],
        ]
        colors = ["tab:blue" if engine == "ours" else "0.7" for engine, _ in rows]
        axes.barh(names, medians, xerr=ranges, color=colors)
        axes.set(title=title)
    drawn.savefig(path)


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    return f"{cpu}, {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="default: the installed ones")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=128, help="steps of each measurement")
    parser.add_argument("--head", default="two-step", help="the head of bitnet_onnx")
    parser.add_argument("--ffn-zeros", type=float, default=0.5)
    parser.add_argument("--retries", type=int, default=3, help="for a disturbed measurement")
    args = parser.parse_args()
    engines = chosen(args.engines)
    args.work.mkdir(parents=True, exist_ok=True)
    models = {name: made(args.work, name, args.head, args.ffn_zeros) for name in engines}
    from bitnet_onnx.bench.measure import read_bandwidth

    results, bandwidth = [], []
    for _ in range(args.rounds):
        bandwidth.append(read_bandwidth(max(args.threads)) / 1e9)
        for threads in args.threads:
            for name, model in models.items():
                results.append(measured(name, model, threads, args.new, args.retries))
    about = {
        "machine": machine(),
        "shape": f"2B-4T, random weights, {args.ffn_zeros:.0%} of the gates zero",
        "read_gigabytes_per_second": bandwidth,
        "command": shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]]),
    }
    text = table(results, args.head, args.new)
    lines = [f"{about['shape']}; {about['machine']}; it reads {spread(bandwidth)} GB/s.", "", text]
    (args.work / "peers.md").write_text("\n".join(lines))
    (args.work / "peers.json").write_text(json.dumps({**about, "results": results}, indent=2))
    print("\n".join(lines))
    plot(results, args.head, args.work / "peers.svg")


if __name__ == "__main__":
    main()
