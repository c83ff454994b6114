"""Measure an artifact that embeds texts: texts a second, load, memory.

Knows sessions and clocks; does not know text.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from .. import native
from ..artifact import EMBEDDING, Artifact
from ..errors import GenerationError
from ..runtime.vectors import BATCH, VectorSession
from .measure import describe_peak, machine, peak_memory

__all__ = ["EmbeddingResult", "bench_embedding", "describe_embedding"]

CALLS = 4  # of BATCH texts each, in a run


@dataclass(frozen=True)
class EmbeddingResult:
    """Times in seconds, rates a second: medians over ``runs``."""

    machine: str
    kernel: str
    threads: int
    head: str
    text_tokens: int
    batch_size: int
    runs: int
    load_seconds: float
    single_seconds: float
    """One text alone."""
    texts_per_second: float
    """Texts that are computed together."""
    texts_range: tuple[float, float]
    peak_rss_bytes: int | None  # None: on Windows it is not measured

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def bench_embedding(
    artifact: Artifact,
    *,
    threads: int = 0,
    text_tokens: int = 128,
    runs: int = 3,
    on_run: Callable[[int], None] | None = None,
) -> EmbeddingResult:
    """Embed random texts of ``text_tokens`` tokens; raise GenerationError on impossible sizes."""
    artifact.of_task(EMBEDDING)
    for name, value in {"prompt_tokens": text_tokens, "runs": runs}.items():
        if value < 1:
            raise GenerationError(f"{name} is {value}, expected 1 or more")
    start = perf_counter()
    with VectorSession(artifact, threads=threads) as session:
        load = perf_counter() - start
        if text_tokens > session.context_length:
            raise GenerationError(
                f"texts of {text_tokens} tokens do not fit the context of {session.context_length}",
                hint="lower --prompt-tokens",
            )
        rng = np.random.default_rng(0)
        size = (CALLS * BATCH, text_tokens)
        texts = rng.integers(0, artifact.vocab_size, size).tolist()
        session.embed(texts[:BATCH])  # maps the weights into memory
        alone, together = [], []
        for index in range(runs):
            start = perf_counter()
            session.embed(texts[:1])
            middle = perf_counter()
            session.embed(texts)
            alone.append(middle - start)
            together.append(len(texts) / (perf_counter() - middle))
            if on_run is not None:
                on_run(index + 1)
    return EmbeddingResult(
        machine=machine(),
        kernel=native.active_kernel() if artifact.target == "native" else artifact.target,
        threads=threads or os.cpu_count() or 1,
        head=artifact.head,
        text_tokens=text_tokens,
        batch_size=BATCH,
        runs=runs,
        load_seconds=load,
        single_seconds=statistics.median(alone),
        texts_per_second=statistics.median(together),
        texts_range=(min(together), max(together)),
        peak_rss_bytes=peak_memory(),
    )


def describe_embedding(result: EmbeddingResult) -> str:
    """Return the result as text for a person, one line for each figure."""
    r = result
    low, high = r.texts_range
    return "\n".join(
        [
            f"machine          {r.machine}; kernel {r.kernel}, {r.threads} threads, {r.head} table",
            f"load             {r.load_seconds:.2f} s",
            f"one text         {r.single_seconds * 1e3:.1f} ms ({r.text_tokens} tokens)",
            f"texts            {r.texts_per_second:.1f} a second, {r.batch_size} at a time "
            f"({low:.1f} to {high:.1f} in {r.runs} runs of {CALLS * r.batch_size})",
            f"peak memory      {describe_peak(r.peak_rss_bytes)}",
        ]
    )
