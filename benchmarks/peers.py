"""Compare bitnet_onnx with other engines, on the same random weights, in turns in one sitting.

``python -m benchmarks.peers`` makes missing models under --work, measures every engine with every
number of threads once in each round, and writes peers.md, peers.json and peers.svg there. An engine
that it cannot install is named by a command, ``--engines ours 'NAME=COMMAND'``: the shell runs it
with THREADS, PROMPT, CONTEXT and NEW in its environment, and the last line that it prints is a JSON
object with the tokens/s of ``prefill`` and ``decode``.
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

from .engines import COMMAND, ENGINES, quantize_head
from .plots import figure
from .rounds import DISTURBED, Reads, Result, rounds_table, table, turns

PACKAGES = {"llama.cpp": "llama_cpp", "transformers": "transformers"}
LABELS = {
    "ours": "bitnet_onnx, {head} head",
    "stock": "ONNX Runtime alone (--target stock), int8 head",
    "llama.cpp": "llama.cpp, TQ2_0, Q6_K head",
    "transformers": "transformers, bfloat16",
}
FEW = 8  # new tokens of transformers, which takes seconds for each token


def run(*arguments: str | Path) -> str:
    """Run a module and return its stdout; where it fails, print its last error and exit with 2."""
    command = [sys.executable, "-m", *map(str, arguments)]
    print("$", shlex.join(command[1:]), file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        say = (lines or done.stderr.splitlines() or ["no message"])[-1]
        say = say.removeprefix("error: ")
        print(f"error: {shlex.join(command[2:])}: {say}", file=sys.stderr)
        raise SystemExit(2)
    return done.stdout


def named(text: str) -> tuple[str, str | None]:
    """Return name and command of an item of --engines; engines of this script have no command."""
    name, _, command = (part.strip() for part in text.partition("="))
    if (command and name and name not in ENGINES) or text in ENGINES:
        return name, command or None
    expected = f"{', '.join(ENGINES)}, or another name in NAME=COMMAND"
    raise argparse.ArgumentTypeError(f"engine is {text!r}, expected {expected}")


def chosen(items: Sequence[tuple[str, str | None]] | None) -> dict[str, str | None]:
    """Return the chosen engines, or all installed ones; print the missing ones to stderr."""
    missing = [n for n, package in PACKAGES.items() if find_spec(package) is None]
    if items is None:
        for name in missing:
            print(f"note: {lacks(name)}; it is left out", file=sys.stderr)
        return {name: None for name in ENGINES if name not in missing}
    names = [name for name, _ in items]
    wrong = [lacks(name) for name in names if name in missing]
    wrong += [f"engine {n!r} is given twice, expected once" for n in names if names.count(n) > 1]
    if wrong:
        print(f"error: {wrong[0]}", file=sys.stderr)
        raise SystemExit(2)
    return dict(items)


def lacks(name: str) -> str:
    return f"{name} is not installed: pip install 'bitnet-onnx[bench]'"


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

        opened = open_checkpoint(checkpoint)
        whole = write_gguf(root / "tq2_0.gguf", opened, llama_cpp=True)
        quantize_head(str(whole), str(root / "unfinished"))
        whole.unlink()
        return (root / "unfinished").rename(path)
    options = ("int8", "--target", "stock") if engine == "stock" else (head,)
    run("bitnet_onnx", "export", checkpoint, "-o", path, "--head", *options)
    return path


def measured(
    engine: str, model: str | Path, threads: int, new: int, retries: int
) -> dict[str, Any]:
    """Measure once; repeat while others disturb it, and return the least disturbed measurement.

    The model of an engine that this script does not know is its command.
    """
    options = ("--threads", str(threads), "--new", str(FEW if engine == "transformers" else new))
    known = engine if engine in ENGINES else COMMAND
    results = []
    for _ in range(1 + retries):
        results.append(json.loads(run("benchmarks.engines", known, model, *options)))
        if (results[-1]["others"] or 0) < DISTURBED:
            break
    best = min(results, key=lambda result: result["others"] or 0)
    return {"engine": engine, "threads": threads, **best}


def plot(results: Sequence[dict[str, Any]], labels: dict[str, str], path: Path) -> None:
    """Plot medians as bars, with the ranges over the rounds."""
    rows = list(dict.fromkeys((r["engine"], r["threads"]) for r in results))[::-1]
    names = [f"{labels[engine]}, {threads} thr." for engine, threads in rows]
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


def sat(
    models: dict[str, str | Path], rounds: int, counts: Sequence[int], new: int, retries: int
) -> tuple[list[Result], Reads]:
    """Measure all engines in turns; return the results, and the reads around each round."""
    from bitnet_onnx.bench.measure import read_bandwidth

    results: list[Result] = []
    reads: Reads = {}
    for index in range(rounds):
        for threads in counts:
            before = read_bandwidth(threads)
            for engine in turns(list(models), index):
                found = measured(engine, models[engine], threads, new, retries)
                results.append({"round": index, **found})
            reads[index, threads] = (before, read_bandwidth(threads))
    return results, reads


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    return f"{cpu}, {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--engines",
        nargs="+",
        action="extend",
        type=named,
        metavar="ENGINE",
        help=f"{', '.join(ENGINES)}, or NAME=COMMAND; the first is compared with the others; "
        "default: the installed ones",
    )
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=128, help="steps of each measurement")
    parser.add_argument("--head", default="two-step", help="the head of bitnet_onnx")
    parser.add_argument("--ffn-zeros", type=float, default=0.5)
    parser.add_argument("--retries", type=int, default=3, help="for a disturbed measurement")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}, expected 1 or more")
    engines = chosen(args.engines)
    args.work.mkdir(parents=True, exist_ok=True)
    models = {
        name: command or made(args.work, name, args.head, args.ffn_zeros)
        for name, command in engines.items()
    }
    results, reads = sat(models, args.rounds, args.threads, args.new, args.retries)
    labels = {name: LABELS.get(name, name).format(head=args.head) for name in models}
    about = {
        "machine": machine(),
        "shape": f"2B-4T, random weights, {args.ffn_zeros:.0%} of the gates zero",
        "command": shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]]),
        "rounds": [
            {"round": index, "threads": threads, "read_bytes_per_second": bandwidth}
            for (index, threads), bandwidth in reads.items()
        ],
    }
    lines = [
        f"{about['shape']}; {about['machine']}.",
        "",
        table(results, labels, args.new),
        rounds_table(results, reads, labels),
    ]
    (args.work / "peers.md").write_text("\n".join(lines))
    (args.work / "peers.json").write_text(json.dumps({**about, "results": results}, indent=2))
    print("\n".join(lines))
    plot(results, labels, args.work / "peers.svg")


if __name__ == "__main__":
    main()
