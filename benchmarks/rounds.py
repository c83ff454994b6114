"""Judge engines by rounds, in which each of them was measured once: a host's speed drifts.

Two figures of one round saw the same host, so their ratio stands where the figures themselves move;
the median of these ratios judges. Knows results as dictionaries; runs nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

DISTURBED = 0.2  # cores kept busy by others, from which a measurement counts as disturbed

Result = dict[str, Any]
Reads = dict[tuple[int, int], tuple[float, float]]
"""By round and threads, the bytes a second that the machine read before the round and after it."""


def turns(engines: Sequence[str], index: int) -> list[str]:
    """Return the order of a round: every other one is reversed, so that no place favours anyone."""
    return list(engines) if index % 2 == 0 else list(engines)[::-1]


def ratios(
    results: Sequence[Result], base: str, engine: str, threads: int, what: str
) -> list[float]:
    """Return the figure ``what`` of ``base`` divided by the engine's, for each round with both."""
    by_round: dict[int, dict[str, float]] = {}
    for result in results:
        if result["threads"] == threads:
            by_round.setdefault(result["round"], {})[result["engine"]] = result[what]
    both = (figures for figures in by_round.values() if base in figures and engine in figures)
    return [figures[base] / figures[engine] for figures in both]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return median and range as text."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(results: Sequence[Result], labels: dict[str, str], new: int) -> str:
    """Return Markdown: a row for each engine and number of threads, with medians and ranges.

    The first engine of ``labels`` is the one that the others are compared with.
    """
    base = next(iter(labels))
    lines = [
        f"A ratio is that of {labels[base]} to the engine within a round.",
        "",
        f"| engine | threads | decode, 128 to {128 + new}, tokens/s | ratio |"
        " prefill of 512, tokens/s | ratio | peak MB | runs | disturbed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for threads in dict.fromkeys(r["threads"] for r in results):
        for engine, label in labels.items():
            runs = [r for r in results if (r["engine"], r["threads"]) == (engine, threads)]
            cells = [label, str(threads)]
            for what in ("decode", "prefill"):
                over = spread(ratios(results, base, engine, threads, what), 2)
                cells += [spread([r[what] for r in runs]), "" if engine == base else over]
            peak = statistics.median(r["peak_rss_bytes"] for r in runs) / 1e6
            disturbed = sum((r["others"] or 0) >= DISTURBED for r in runs)
            cells += [f"{peak:.0f}", str(len(runs)), str(disturbed)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rounds_table(results: Sequence[Result], reads: Reads, labels: dict[str, str]) -> str:
    """Return Markdown: a row for each round and number of threads, with the reads around it."""
    heads = [f"{label}: decode, prefill" for label in labels.values()]
    lines = [
        f"| {' | '.join(['round', 'threads', 'reads before, after, GB/s', *heads])} |",
        "|" + "---|" * (3 + len(heads)),
    ]
    for (index, threads), bandwidth in reads.items():
        cells = [str(index + 1), str(threads), ", ".join(f"{read / 1e9:.1f}" for read in bandwidth)]
        found = {r["engine"]: r for r in results if (r["round"], r["threads"]) == (index, threads)}
        cells += [f"{found[e]['decode']:.1f}, {found[e]['prefill']:.1f}" for e in labels]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
