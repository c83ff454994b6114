"""Measure an artifact on this machine: prefill, decode, load, memory, share of read bandwidth.

Knows sessions and clocks; does not know text. Figures are medians of several runs. The read
bandwidth is measured in the same sitting by the same number of threads, so that shares have a
meaning on a shared machine.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import NamedTuple

import numpy as np

from .. import native
from ..artifact import Artifact
from ..errors import GenerationError
from ..network.config import BitNetConfig
from ..runtime.session import Session

try:
    import resource as _resource
except ModuleNotFoundError:  # Windows
    resource: ModuleType | None = None
else:
    resource = _resource

__all__ = ["BenchResult", "bench", "read_bandwidth"]

BUFFER_BYTES = 512 << 20  # read once per pass: far beyond every cache
PASSES = 5
GB = 1e9


@dataclass(frozen=True)
class BenchResult:
    """Times in seconds, rates in tokens or bytes a second: medians over ``runs``."""

    machine: str
    kernel: str
    threads: int
    head: str
    prompt_tokens: int
    new_tokens: int
    runs: int
    load_seconds: float
    first_token_seconds: float
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    decode_range: tuple[float, float]
    zero_gates: float | None
    """The share of up_proj's rows behind a closed gate; None where no operator skips zeros."""
    zero_activations: float | None
    """The share of down_proj's columns that met a zero after quantization; or None."""
    weight_bytes_per_token: int | None  # None: ONNX Runtime's own operators may unpack weights
    read_bandwidth: float
    bandwidth_share: float | None
    peak_rss_bytes: int | None  # None: on Windows it is not measured

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def bench(
    artifact_folder: str | Path,
    *,
    threads: int = 0,
    prompt_tokens: int = 128,
    new_tokens: int = 64,
    runs: int = 3,
    on_run: Callable[[int], None] | None = None,
) -> BenchResult:
    """Feed ``prompt_tokens`` random ids, then decode ``new_tokens``; greedy, one sequence.

    on_run gets the number of each finished run. Raises GenerationError on impossible sizes.
    """
    sizes = {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens, "runs": runs}
    for name, value in sizes.items():
        if value < 1:
            raise GenerationError(f"{name} is {value}, expected 1 or more")
    start = perf_counter()
    artifact = Artifact.open(artifact_folder)
    counters = native.Counters()
    session = Session(artifact, threads=threads, counters=counters)
    load = perf_counter() - start
    if prompt_tokens + new_tokens > session.context_length:
        raise GenerationError(
            f"{prompt_tokens} prompt and {new_tokens} new tokens do not fit the context of "
            f"{session.context_length}",
            hint="lower --prompt-tokens or --max-new-tokens",
        )
    ids = np.random.default_rng(0).integers(0, artifact.vocab_size, prompt_tokens).tolist()
    _run(session, counters, ids, 2)  # maps the weights into memory
    times: list[_Times] = []
    for index in range(runs):
        times.append(_run(session, counters, ids, new_tokens))
        if on_run is not None:
            on_run(index + 1)
    return _summary(
        artifact, threads or os.cpu_count() or 1, load, prompt_tokens, new_tokens, times
    )


def _summary(
    artifact: Artifact,
    threads: int,
    load: float,
    prompt_tokens: int,
    new_tokens: int,
    times: list[_Times],
) -> BenchResult:
    """Medians of the runs, with the read bandwidth and the peak memory of this process."""
    peak = peak_memory()
    prefill = statistics.median(run.first for run in times)
    rates = [(new_tokens - 1) / run.rest for run in times if new_tokens > 1] or [0.0]
    decode = statistics.median(rates)
    bandwidth = read_bandwidth(threads)
    rows, columns, head, experts = (
        statistics.median(run.skipped[i] for run in times) / max(1, new_tokens - 1)
        for i in range(4)
    )
    skippable = _matrix_bytes(artifact) if rows + columns else None
    kernel, read = artifact.target, None
    if artifact.target == "native":
        kernel = native.active_kernel()
        read = weight_bytes(artifact) - int(rows + columns + head + experts)
    return BenchResult(
        machine=machine(),
        kernel=kernel,
        threads=threads,
        head=artifact.head,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        runs=len(times),
        load_seconds=load,
        first_token_seconds=prefill,
        prefill_tokens_per_second=prompt_tokens / prefill,
        decode_tokens_per_second=decode,
        decode_range=(min(rates), max(rates)),
        zero_gates=rows / skippable if skippable else None,
        zero_activations=columns / skippable if skippable else None,
        weight_bytes_per_token=read,
        read_bandwidth=bandwidth,
        bandwidth_share=None if read is None else read * decode / bandwidth,
        peak_rss_bytes=peak,
    )


def machine() -> str:
    """Return the kind of this machine."""
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}"


def describe_peak(peak: int | None) -> str:
    """Return the peak memory, bytes, as text."""
    return "not measured on this system" if peak is None else f"{peak / 1e6:.0f} MB resident"


def peak_memory() -> int | None:
    """Return the most bytes that this process has had resident; None where nobody counts them."""
    if resource is None:
        return None
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else 1024 * peak


def weight_bytes(artifact: Artifact) -> int:
    """Return the weight bytes of one decode step: all, except an untied embedding table."""
    config = BitNetConfig.from_file(artifact.config_path)
    if config.tie_word_embeddings:
        return artifact.data_size
    width = 4 if artifact.head == "float32" else 2
    return artifact.data_size - width * config.vocab_size * config.hidden_size


def _matrix_bytes(artifact: Artifact) -> int:
    """Return the bytes of up_proj, or of down_proj by column, in all layers: 64 for 256 codes."""
    config = BitNetConfig.from_file(artifact.config_path)
    width = -(-config.hidden_size // 256) * 64
    return config.num_hidden_layers * config.intermediate_size * width


def read_bandwidth(threads: int) -> float:
    """Return the bytes a second that ``threads`` threads read together: the best of 5 passes."""
    buffer = np.ones(BUFFER_BYTES // 8, dtype=np.uint64)
    part = buffer.nbytes // threads // 64 * 64
    address = buffer.ctypes.data

    def read(index: int) -> int:
        return native.read_memory(address + index * part, part)

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(PASSES):
            start = perf_counter()
            list(pool.map(read, range(threads)))
            best = max(best, threads * part / (perf_counter() - start))
    return best


class _Times(NamedTuple):
    """Seconds to the first token, seconds from it to the last, and bytes skipped in between."""

    first: float
    rest: float
    skipped: native.Skipped


def _run(session: Session, counters: native.Counters, ids: list[int], new_tokens: int) -> _Times:
    session.reset()
    start = perf_counter()
    token = int(session.prefill(ids).argmax())
    first, skipped = perf_counter(), counters.skipped()
    for _ in range(new_tokens - 1):
        token = int(session.decode([token])[0].argmax())
    return _Times(first - start, perf_counter() - first, counters.skipped().since(skipped))


def describe(result: BenchResult) -> str:
    """Return the result as text for a person, one line for each figure."""
    r = result
    low, high = r.decode_range
    weights = f"not known; {r.read_bandwidth / GB:.1f} GB/s read here"
    if r.weight_bytes_per_token is not None:
        rate = r.weight_bytes_per_token * r.decode_tokens_per_second
        weights = (
            f"{r.weight_bytes_per_token / 1e6:.1f} MB a token, {rate / GB:.1f} GB/s, "
            f"{r.bandwidth_share:.0%} of the {r.read_bandwidth / GB:.1f} GB/s read here"
        )
    zeros = []
    if r.zero_gates is not None and r.zero_activations is not None:
        shares = f"{r.zero_gates:.1%} of the gates, {r.zero_activations:.1%} of down's inputs"
        zeros = [f"zeros            {shares}: weights that were not read"]
    return "\n".join(
        [
            f"machine          {r.machine}; kernel {r.kernel}, {r.threads} threads, {r.head} head",
            f"load             {r.load_seconds:.2f} s",
            f"first token      {r.first_token_seconds * 1e3:.0f} ms ({r.prompt_tokens} tokens)",
            f"prefill          {r.prefill_tokens_per_second:.1f} tokens/s",
            f"decode           {r.decode_tokens_per_second:.1f} tokens/s "
            f"({low:.1f} to {high:.1f} in {r.runs} runs of {r.new_tokens})",
            *zeros,
            f"weights read     {weights}",
            f"peak memory      {describe_peak(r.peak_rss_bytes)}",
        ]
    )
