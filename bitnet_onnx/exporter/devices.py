"""What kinds of devices want of an export, and what is to be expected there.

Knows presets, sizes, and the rates that ``python -m benchmarks.arm`` predicts; knows no weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..artifact import LINEARS, OUTPUTS, Artifact
from ..errors import ConfigError
from ..network.config import BitNetConfig
from ..network.parts import parts_of
from ..runtime.cache.layout import CacheLayout
from .options import Options
from .stock import check_network, memory, weight_counts

__all__ = ["PRESETS", "Preset", "expectations", "wanted"]

RATES = Path(__file__).with_name("devices.json")
CHUNK = 256  # positions of a prompt in one step
_RUNTIME = 40e6  # bytes of ONNX Runtime and the library
_LEAST = 64e6  # bytes of weights a token: smaller models do not wait for memory alone
_ROUNDED = ("int8", "int6", "int4")  # heads that other logits come from than the checkpoint's
_SIX = 6 / 8 + 1 / 32  # bytes a weight: six bits, and a level for each 32
# Heads that read rows of one scan in each step: its rate in devices.json, its bytes a weight.
_SCANS: dict[str, tuple[str, float]] = {
    "int8": ("head", 1),
    "two-step": ("head", 1),
    "int6": ("head6", _SIX),
    "two-step-int6": ("head6", _SIX),
}


@dataclass(frozen=True)
class Preset:
    """The options of ``export`` for a kind of device; an option that is given wins."""

    target: str
    head: str | None
    kv_cache: str
    context_length: int
    """At most this many positions."""
    linears: str | None = None
    """Of a network with float linears; None: what keeps its numbers, as for its head."""
    copy_library: bool = True
    """False: an app has a library of its own, for other processors than this one."""


# Phones: the smallest files and memory. Boards: the checkpoint's ids. Browsers: what they can run.
PRESETS = {
    "android": Preset("native", "int8", "int8", 4096, "int8", copy_library=False),
    "ios": Preset("native", "int8", "int8", 4096, "int8", copy_library=False),
    "board": Preset("native", "two-step-int6", "float32", 2048),
    "web": Preset("stock", "int8", "float32", 2048, "int8"),
}

_NATIVE = [name for name, preset in PRESETS.items() if preset.target == "native"]


def wanted(name: str, config: BitNetConfig, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options for a kind of device; those of ``given`` that are not None win.

    Raises ConfigError where the device cannot run one.
    """
    if given.get("outputs") not in (None, OUTPUTS[0]):
        raise ConfigError(
            f"outputs is {given['outputs']!r} with --for {name}, expected logits: apps do not"
            " read hidden states",
            hint="leave --for or --outputs out",
        )
    preset = PRESETS[name]
    preset = replace(
        preset, context_length=min(preset.context_length, config.max_position_embeddings)
    )
    if not config.float_linears:
        preset = replace(preset, linears=None)
    elif preset.linears is None:
        preset = replace(preset, head=None)
    open_ones = {key for key, value in given.items() if value is None}
    found = given | {key: value for key, value in vars(preset).items() if key in open_ones}
    if name == "web":
        if found["target"] != "stock":
            raise ConfigError(
                f"target is {found['target']!r}, expected 'stock' for web: browsers load no"
                " library",
                hint="leave --target out",
            )
        named = {key: value for key, value in found.items() if value is not None}
        options = Options(**named, passes=()).for_network(config)
        check_network(config, options, f"for another device: {', '.join(_NATIVE)}")
    return found | {"copy_library": preset.copy_library}


def expectations(name: str, config: BitNetConfig, artifact: Artifact) -> Iterator[str]:
    """Yield what an artifact takes on such devices, and how fast they are predicted to be."""
    yield (
        f"for {name}: target {artifact.target}, head {artifact.head}, cache {artifact.kv_cache},"
        f" context {artifact.context_length}"
    )
    exact = "bf16" if artifact.target == "stock" else "two-step"
    if artifact.linears != LINEARS[0]:  # a float checkpoint may hold more than bfloat16
        exact = "float32"
    rounded = {}
    if artifact.head in _ROUNDED:
        rounded[f"the {artifact.head} head"] = f"--head {exact}"
    if artifact.linears == "int8":
        rounded["the int8 linears"] = "--linears float32"
    if artifact.kv_cache != "float32":
        rounded[f"the {artifact.kv_cache} cache"] = "--kv-cache float32"
    if rounded:
        s = "s" if len(rounded) == 1 else ""
        yield (
            f"note: {listed(list(rounded))} round{s}, so ids can differ from the checkpoint's;"
            f" {listed(list(rounded.values()))} keep{s} them"
        )
    size = sum(entry["size"] for entry in artifact.manifest["files"].values())
    weights = artifact.data_size
    if artifact.target == "stock":
        weights = memory(config, artifact.head, artifact.linears)
    cache, rest = cache_bytes(artifact), _rest(config)
    yield f"size: {_shown(size)}"
    yield (
        f"expected memory: {_shown(weights + cache + rest)}, of which {_shown(weights)} weights,"
        f" {_shown(cache)} the cache of {artifact.context_length} positions"
    )
    speeds = [f"{device} {speed:.0f}" for device, speed in predicted(name, config, artifact)]
    if speeds:
        yield f"tokens/s, predicted, not measured: {'; '.join(speeds)}"
    else:
        yield f"tokens/s: {_why_none(name, config, artifact)}"


def cache_bytes(artifact: Artifact) -> int:
    """Return the bytes of a full cache."""
    layers, context = artifact.num_hidden_layers, artifact.context_length
    heads = artifact.num_key_value_heads
    layout = CacheLayout(layers, heads, artifact.head_dim, artifact.kv_cache, context)
    return layout.position_bytes * layers * context


def predicted(name: str, config: BitNetConfig, artifact: Artifact) -> Iterator[tuple[str, float]]:
    """Yield devices and tokens/s, without attention and without the savings from zeros."""
    linears, table = weight_counts(config)
    if _why_none(name, config, artifact):
        return
    rate, bytes_of = _SCANS[artifact.head]
    for device in json.loads(RATES.read_text("utf-8"))["devices"]:
        if device["for"] == name:
            seconds = linears / 4 / min(device["memory"], device["ternary"])
            seconds += table * bytes_of / min(device["memory"], device[rate])
            yield device["name"], 1 / seconds


def _why_none(name: str, config: BitNetConfig, artifact: Artifact) -> str:
    """Return why nothing is predicted; "" where something is."""
    linears, table = weight_counts(config)
    if artifact.target == "stock":
        return "not predicted for the stock target"
    if artifact.head not in _SCANS:
        return f"not predicted for the head {artifact.head}, but for {listed(list(_SCANS))}"
    if config.float_linears:
        return "not predicted for float linears"
    if config.mixture is not None:
        return "not predicted for a mixture of experts"
    if any(linear.group_size is not None for linear in parts_of(config).linears.values()):
        return "not predicted for weights in groups"
    if linears / 4 + table < _LEAST:
        return f"not predicted for models of less than {_shown(_LEAST)} of weights"
    return ""


def _rest(config: BitNetConfig) -> float:
    """Return the bytes of the runtime and of the activations of a step."""
    row = 8 * config.hidden_size + 4 * config.intermediate_size
    return _RUNTIME + 4.0 * (CHUNK * row + config.vocab_size)


def _shown(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def listed(words: list[str]) -> str:
    """Join words as a sentence does: "a", "a and b", "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
