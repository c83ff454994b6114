"""An artifact in ONNX Runtime: token ids in, logits out; owns the KV cache, knows no text.

The cache of each layer is a buffer [batch, kv heads, capacity, head_dim] each for keys and values,
and one [batch, kv heads, capacity] for the scales of int8 ones. Each is both past and present, so a
step copies nothing. The capacity grows by a block of positions when it is used up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import native
from .artifact import Artifact
from .errors import ArtifactError, GenerationError, LibraryError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when ONNX Runtime is imported
import onnxruntime as ort

__all__ = ["Session"]

PREFILL_CHUNK = 256  # positions of one prefill step: bounds the memory for activations
CACHE_BLOCK = 512  # positions that the cache grows by; growing copies it once
SCALE = "_scale"


class Session:
    """One or more rows (sequences) that are fed step by step.

    ``lengths[row]`` positions of a row are in the cache. ``prefill`` fills one row in chunks, so
    that a row's numbers do not depend on its neighbours; ``decode`` feeds one id to each row.
    """

    def __init__(
        self,
        artifact: Artifact | str | Path,
        *,
        threads: int = 0,
        custom_ops: bool = True,
        profile: str | None = None,
        model: bytes | None = None,
        counters: native.Counters | None = None,
    ) -> None:
        """threads: 0 for one per core. custom_ops False runs the stock function bodies.

        model: a changed copy of the artifact's graph to run in its place, on the same weights.
        counters: what the operators of this session count into.

        Raises ArtifactError or LibraryError.
        """
        self.artifact = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
        self.vocab_size = self.artifact.vocab_size
        self.context_length = self.artifact.context_length
        self._session = _open(self.artifact, threads, custom_ops, profile, model, counters)
        kinds = ["key", "value"]
        if self.artifact.kv_cache == "int8":
            kinds += [f"{kind}{SCALE}" for kind in kinds]
        layers = range(self.artifact.num_hidden_layers)
        self._cached = [f"{layer}.{kind}" for layer in layers for kind in kinds]
        self._keep = np.ones(1, dtype=np.int64)
        self._all = np.zeros(1, dtype=np.int64)
        self._ones = np.ones((1, self.context_length), dtype=np.int64)
        self._ones_address = self._ones.ctypes.data  # asking in each step would take it 30 us
        self.reset()

    def reset(self, batch_size: int = 1) -> None:
        """Forget everything and make room for ``batch_size`` rows."""
        if batch_size < 1:
            raise GenerationError(f"batch_size is {batch_size}, expected 1 or more")
        self.batch_size = batch_size
        self.lengths = [0] * batch_size
        self._cache = [self._empty(name, 0) for name in self._cached]
        self._ids = np.zeros((batch_size, 1), dtype=np.int64)
        self._logits = np.empty((batch_size, 1, self.vocab_size), dtype=np.float32)
        self._reserve(1)

    def prefill(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Append ids to a row; returns the logits [V] after the last of them."""
        return self._feed(ids, row, self._keep)[-1]

    def score(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Append ids to a row; returns the logits [S, V] after each of them."""
        return self._feed(ids, row, self._all)

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        """Append one id to every row; returns logits [batch, V], overwritten by the next call."""
        if len(ids) != self.batch_size:
            raise GenerationError(f"decode got {len(ids)} ids, expected one for each of "
                                  f"{self.batch_size} rows")  # fmt: skip
        for row in range(self.batch_size):
            self._check(ids[row : row + 1], row)
        self._ids[:, 0] = ids
        longest = max(self.lengths) + 1
        self._reserve(longest)
        for row in range(self.batch_size):
            self.lengths[row] += 1
        shape = (self.batch_size, longest)
        if self.batch_size == 1:
            address = self._ones_address
        else:
            filled = np.arange(longest) < np.asarray(self.lengths)[:, None]
            mask = filled.astype(np.int64)
            address = mask.ctypes.data
        self._step.bind_input("attention_mask", "cpu", 0, np.int64, shape, address)
        self._run(self._step)
        return self._logits[:, 0]

    def end_profiling(self) -> str:
        """The file with the profile of all steps so far; only where ``profile`` was given."""
        return str(self._session.end_profiling())

    @property
    def position_bytes(self) -> int:
        """What the cache takes for one position of a row, in one layer."""
        total = sum(buffer.nbytes for buffer in self._cache)
        positions = self.batch_size * self._cache[0].shape[2] * self.artifact.num_hidden_layers
        return total // positions

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep only the first ``length`` positions of a row."""
        self._check_row(row)
        if not 0 <= length <= self.lengths[row]:
            raise GenerationError(
                f"truncate to {length} positions, row {row} holds {self.lengths[row]}"
            )
        self.lengths[row] = length

    def _feed(self, ids: Sequence[int], row: int, keep: np.ndarray) -> np.ndarray:
        self._check(ids, row)
        self._reserve(self.lengths[row] + len(ids))
        binding = self._bind_cache(slice(row, row + 1))
        _bind(binding.bind_input, "logits_to_keep", keep)
        kept: list[np.ndarray] = []
        for start in range(0, len(ids), PREFILL_CHUNK):
            chunk = np.asarray(ids[start : start + PREFILL_CHUNK], dtype=np.int64)[None]
            width = 1 if keep is self._keep else chunk.shape[1]
            logits = np.empty((1, width, self.vocab_size), dtype=np.float32)
            total = self.lengths[row] + chunk.shape[1]
            _bind(binding.bind_input, "input_ids", chunk)
            _bind(binding.bind_input, "attention_mask", self._ones[:, :total])
            _bind(binding.bind_output, "logits", logits)
            self._run(binding)
            self.lengths[row] = total
            kept = [logits[0]] if keep is self._keep else [*kept, logits[0]]
        return np.concatenate(kept)

    def _run(self, binding: Any) -> None:
        self._session.run_with_iobinding(binding)

    def _check_row(self, row: int) -> None:
        if not 0 <= row < self.batch_size:
            raise GenerationError(f"row is {row}, expected 0 to {self.batch_size - 1}")

    def _check(self, ids: Sequence[int], row: int) -> None:
        self._check_row(row)
        if len(ids) == 0:
            raise GenerationError("there are no ids to feed, expected at least one")
        if not all(0 <= token < self.vocab_size for token in ids):
            wrong = next(token for token in ids if not 0 <= token < self.vocab_size)
            raise GenerationError(
                f"token id {wrong} is outside the vocabulary, expected 0 to {self.vocab_size - 1}"
            )
        if self.lengths[row] + len(ids) > self.context_length:
            raise GenerationError(
                f"row {row} would hold {self.lengths[row] + len(ids)} positions, the context has "
                f"{self.context_length}"
            )

    def _reserve(self, positions: int) -> None:
        """Make room for so many positions in every row; binds the step to the new buffers."""
        if positions <= self._cache[0].shape[2]:
            return
        capacity = min(-(-positions // CACHE_BLOCK) * CACHE_BLOCK, self.context_length)
        filled = max(self.lengths)
        for i, (name, old) in enumerate(zip(self._cached, self._cache, strict=True)):
            self._cache[i] = self._empty(name, capacity)
            self._cache[i][:, :, :filled] = old[:, :, :filled]
        self._step = self._bind_cache(slice(0, self.batch_size))
        _bind(self._step.bind_input, "input_ids", self._ids)
        _bind(self._step.bind_input, "logits_to_keep", self._keep)
        _bind(self._step.bind_output, "logits", self._logits)

    def _empty(self, name: str, capacity: int) -> np.ndarray:
        """Zeros, so that positions not yet filled are finite."""
        rows = (self.batch_size, self.artifact.num_key_value_heads, capacity)
        if name.endswith(SCALE):
            return np.zeros(rows, np.float32)
        return np.zeros((*rows, self.artifact.head_dim), self.artifact.kv_cache)

    def _bind_cache(self, rows: slice) -> Any:
        binding = self._session.io_binding()
        for name, buffer in zip(self._cached, self._cache, strict=True):
            _bind(binding.bind_input, f"past_key_values.{name}", buffer[rows])
            _bind(binding.bind_output, f"present.{name}", buffer[rows])
        return binding


def _bind(bind: Any, name: str, array: np.ndarray) -> None:
    """Hand a buffer of ours to ONNX Runtime, uncopied; it must be contiguous and stay alive."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _open(
    artifact: Artifact,
    threads: int,
    custom_ops: bool,
    profile: str | None,
    model: bytes | None,
    counters: native.Counters | None,
) -> ort.InferenceSession:
    if threads < 0:
        raise GenerationError(f"threads is {threads}, expected 0 (one per core) or more")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone: they reach the caller as exceptions
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if custom_ops and artifact.target == "native":
        if counters is not None:
            options.add_session_config_entry(*counters.session_entry)
        native.active_kernel()  # says which kernels there are when an impossible one is forced
        try:
            options.register_custom_ops_library(str(native.library_path()))
        except Exception as error:  # ONNX Runtime raises its own types, not exported by name
            raise LibraryError(
                f"ONNX Runtime {ort.__version__} refused the custom-op library: {_first(error)}",
                hint="install a bitnet-onnx and an onnxruntime that belong together",
            ) from error
    if model is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(artifact.folder)
        )
    try:
        return ort.InferenceSession(
            model or str(artifact.model_path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ArtifactError(
            f"ONNX Runtime {ort.__version__} cannot load {artifact.model_path}: {_first(error)}",
            hint="check the artifact with: bitnet-onnx info ARTIFACT --check",
        ) from error


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
