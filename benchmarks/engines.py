"""Measure one engine once in its own process: prefill, then greedy decode, of one sequence.

``python -m benchmarks.engines ENGINE MODEL --threads 2`` prints one JSON object. Every engine gets
the same random ids, takes a few warm-up steps, and is timed from the call to the chosen id. Only
an engine's own function imports its packages. The engine ``command`` is any other one, and MODEL is
the shell command that measures it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import resource
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

_log: Any = None  # keeps the callback alive: llama.cpp holds a pointer to it


class Engine(NamedTuple):
    """An engine: ``reset`` empties its cache, ``feed`` appends ids and returns the greedy next."""

    reset: Callable[[], object]
    feed: Callable[[list[int]], int]
    vocab_size: int
    packages: tuple[str, ...]


def ours(model: str, threads: int, room: int) -> Engine:
    """Run bitnet_onnx on an artifact folder; the stock target is ONNX Runtime alone."""
    from bitnet_onnx.runtime.session import Session

    session = Session(model, threads=threads)

    def feed(ids: list[int]) -> int:
        logits = session.prefill(ids) if len(ids) > 1 else session.decode(ids)[0]
        return int(logits.argmax())

    return Engine(session.reset, feed, session.vocab_size, ("onnxruntime",))


def llama_cpp(model: str, threads: int, room: int) -> Engine:
    """Run llama.cpp by llama-cpp-python's C interface, on a GGUF file, in batches of 512."""
    import llama_cpp as ll

    _be_quiet(ll)
    weights = ll.llama_model_load_from_file(model.encode(), ll.llama_model_default_params())
    if not weights:
        raise SystemExit(f"error: llama.cpp cannot load {model}")
    params = ll.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = room, 512, 512
    params.n_threads = params.n_threads_batch = threads
    context = ll.llama_init_from_model(weights, params)
    size = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(weights))

    def feed(ids: list[int]) -> int:
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            tokens = (ll.llama_token * len(part))(*part)  # the batch points to it
            if status := ll.llama_decode(context, ll.llama_batch_get_one(tokens, len(part))):
                raise SystemExit(f"error: llama_decode returned {status}")
        logits = ll.llama_get_logits_ith(context, -1)
        return int(np.ctypeslib.as_array(logits, (size,)).argmax())

    def reset() -> None:
        ll.llama_memory_clear(ll.llama_get_memory(context), True)

    return Engine(reset, feed, size, ("llama-cpp-python",))


def quantize_head(source: str, target: str) -> None:
    """Make llama.cpp's TQ2_0 file from this package's: same ternary tensors, a Q6_K table."""
    import llama_cpp as ll

    _be_quiet(ll)
    params = ll.llama_model_quantize_default_params()
    params.ftype = ll.LLAMA_FTYPE_MOSTLY_TQ2_0
    if ll.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        raise SystemExit(f"error: llama.cpp cannot quantize {source}")


def _be_quiet(ll: Any) -> None:
    global _log
    _log = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(_log, None)


def transformers(model: str, threads: int, room: int) -> Engine:
    """Run transformers' own class in bfloat16, on a checkpoint folder."""
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling would take minutes for nothing
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    cache: dict[str, Any] = {}

    def feed(ids: list[int]) -> int:
        with torch.inference_mode():
            out = network(torch.tensor([ids]), **cache, use_cache=True, logits_to_keep=1)
        cache["past_key_values"] = out.past_key_values
        return int(out.logits[0, -1].argmax())

    return Engine(cache.clear, feed, network.config.vocab_size, ("transformers", "torch"))


COMMAND = "command"
ENGINES = {"ours": ours, "stock": ours, "llama.cpp": llama_cpp, "transformers": transformers}


def measure(engine: Engine, prompt: int, context: int, new: int) -> dict[str, Any]:
    """Measure tokens/s of ``prompt`` ids, and of ``new`` steps after ``context`` ids."""
    ids = np.random.default_rng(0).integers(3, engine.vocab_size, max(prompt, context)).tolist()
    engine.feed(ids[:8])
    engine.feed(ids[:1])
    others = Others()
    engine.reset()
    start = perf_counter()
    engine.feed(ids[:prompt])
    prefill = perf_counter() - start
    engine.reset()
    token = engine.feed(ids[:context])
    start = perf_counter()
    for _ in range(new):
        token = engine.feed([token])
    decode = perf_counter() - start
    return {
        "prefill": prompt / prefill,
        "decode": new / decode,
        "others": others.cores(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": {name: version(name) for name in engine.packages},
    }


def commanded(command: str, threads: int, prompt: int, context: int, new: int) -> dict[str, Any]:
    """Measure by a shell command, which gets the sizes as THREADS, PROMPT, CONTEXT and NEW.

    The last line that it prints is a JSON object with the tokens/s of ``prefill`` and ``decode``.
    """
    sizes = {"THREADS": threads, "PROMPT": prompt, "CONTEXT": context, "NEW": new}
    environment = os.environ | {name: str(size) for name, size in sizes.items()}
    others = Others()
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"error: the command ended with {done.returncode}: {last}")
    return {
        **rates(done.stdout),
        "others": others.cores(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "versions": {},
    }


def rates(printed: str) -> dict[str, float]:
    """Return ``prefill`` and ``decode`` of the last line of a command's output."""
    lines = printed.strip().splitlines() or [""]
    try:
        found = json.loads(lines[-1])
        both = {what: float(found[what]) for what in ("prefill", "decode")}
        if all(0 < rate < math.inf for rate in both.values()):
            return both
    except (KeyError, TypeError, ValueError):
        pass
    raise SystemExit(
        f"error: the command's last line is {lines[-1]!r}, expected a JSON object with the "
        "tokens/s of 'prefill' and 'decode'"
    )


class Others:
    """Counts the cores that other processes, and other machines on this host, keep busy."""

    def __init__(self) -> None:
        self.start, self.before = perf_counter(), self._busy()

    def cores(self) -> float | None:
        """Return their number since the start, None if unknown."""
        before, after = self.before, self._busy()
        if before is None or after is None:
            return None
        return (after - before) / (perf_counter() - self.start)

    @staticmethod
    def _busy() -> float | None:
        """Return the CPU seconds so far of all but this process and its finished children."""
        try:
            ticks = [int(n) for n in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
        except OSError:
            return None
        idle = ticks[3] + ticks[4]
        return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("engine", choices=[*ENGINES, COMMAND])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--new", type=int, default=128)
    args = parser.parse_args()
    sizes = (args.prompt, args.context, args.new)
    if args.engine == COMMAND:
        print(json.dumps(commanded(args.model, args.threads, *sizes)))
        return
    room = max(args.prompt, args.context + args.new) + 16
    print(json.dumps(measure(ENGINES[args.engine](args.model, args.threads, room), *sizes)))


if __name__ == "__main__":
    main()
