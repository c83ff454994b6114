"""Open an artifact in ONNX Runtime: session options, the custom-op library, errors.

Knows ONNX Runtime; does not know the cache or ids.
"""

from __future__ import annotations

import os
from pathlib import Path

from .. import native
from ..artifact import EMBEDDING, HEAD, MANIFEST, Artifact
from ..errors import ArtifactError, GenerationError, LibraryError
from .cache.layout import CacheLayout
from .graph import Graph
from .hidden import state_names
from .integers import integer
from .links import followed
from .weights import mapped_weights

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it once, at import
import onnxruntime as ort

__all__ = ["VECTORS", "first_line", "open_head", "open_runtime"]

MOST_THREADS = 1024
FED = ("input_ids", "attention_mask", "logits_to_keep")
VECTORS = "sentence_embedding"  # of a graph that embeds texts
PAST, PRESENT = "past_key_values.", "present."
# ONNX Runtime's names of the types of caches and logits.
TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "int4",  # packed
}


def open_runtime(
    artifact: Artifact,
    threads: int,
    custom_ops: bool,
    profile: str | None,
    model: bytes | None,
    counters: native.Counters | None,
    packs: bool = True,
) -> ort.InferenceSession:
    """Load the artifact's graph, or ``model`` instead; arguments and errors as in ``Session``.

    packs: ONNX Runtime may keep a copy of float32 weights in an order that its products like.
    """
    options = _options(threads)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if custom_ops and artifact.target == "native":
        if counters is not None:  # the library reads the entry when it is registered
            options.add_session_config_entry(*counters.session_entry)
        _register_library(options)
    if not packs:
        options.add_session_config_entry("session.disable_prepacking", "1")
    serialized = model or _read(artifact.model_path)
    if (linked := followed(serialized, artifact.folder)) is not None:
        model, weights = linked
        serialized = model
    else:
        weights = artifact.folder
    lent = _lend_weights(options, serialized, weights)
    runtime = _loaded(artifact.model_path, options, model, weights)
    if artifact.manifest["task"] == EMBEDDING:
        _check_embedding(artifact, runtime)
    else:
        _check_graph(artifact, runtime)
    runtime.lent = lent  # for as long as it lives
    shown = Graph.of(serialized)
    for field, of_graph in shown._asdict().items():
        if of_graph is not None:
            _compare(artifact, field, of_graph)
    return runtime


def open_head(artifact: Artifact, threads: int, custom_ops: bool) -> ort.InferenceSession:
    """Load the head of an artifact that gives hidden states; errors as in ``Session``."""
    options = _options(threads)
    if custom_ops and artifact.target == "native":
        _register_library(options)
    path = artifact.folder / HEAD
    model, weights = followed(_read(path), artifact.folder) or (None, artifact.folder)
    return _loaded(path, options, model, weights)


def _options(threads: int) -> ort.SessionOptions:
    if not 0 <= integer("threads", threads) <= MOST_THREADS:
        raise GenerationError(f"threads is {threads}, expected 0 (one per core) to {MOST_THREADS}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.log_severity_level = 3  # errors only: they also reach the caller as exceptions
    return options


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}",
            hint="check the artifact with: bitnet-onnx info ARTIFACT --check",
        ) from error


def _loaded(
    path: Path, options: ort.SessionOptions, model: bytes | None, weights: Path
) -> ort.InferenceSession:
    """Load a graph, or ``model`` in its place, whose files are below ``weights``."""
    if model is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights)
        )
    try:
        return ort.InferenceSession(model or str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own types, not exported by name
        raise ArtifactError(
            f"ONNX Runtime {ort.__version__} cannot load {path}: {first_line(error)}",
            hint="check the artifact with: bitnet-onnx info ARTIFACT --check",
        ) from error


def _check_graph(artifact: Artifact, runtime: ort.InferenceSession) -> None:
    """Refuse a manifest that describes another graph: buffers are made of its sizes."""
    inputs = {port.name: port for port in runtime.get_inputs()}
    outputs = {port.name: port for port in runtime.get_outputs()}
    optional = {port.name for port in runtime.get_overridable_initializers()}
    _compare(artifact, "num_hidden_layers", sum(map(_is_key, inputs)))
    layout = CacheLayout.of(artifact)
    past = {f"{PAST}{name}": name for name in layout.names}
    present = {f"{PRESENT}{name}": name for name in layout.names}
    key = inputs[f"{PAST}0.key"]
    _compare(artifact, "kv_cache", TYPES.get(key.type, key.type))
    read, written = {*FED, *past}, {"logits", *present, *state_names(artifact)}
    missing = read - inputs.keys() - optional | written - outputs.keys()
    for name in sorted(missing | inputs.keys() - read):
        what = "lacks" if name in missing else "needs"
        raise _other_graph(artifact, f"{what} {name}")
    _compare(artifact, "vocab_size", outputs["logits"].shape[-1])
    for port in [inputs[name] for name in past] + [outputs[name] for name in present]:
        name = past.get(port.name) or present[port.name]
        shape = layout.shape(name, 1, 1)
        if len(port.shape) != len(shape) or TYPES.get(port.type) != layout.kind_of(name):
            raise _other_graph(artifact, f"has a {port.name} of {port.type} {port.shape}")
        _compare(artifact, "num_key_value_heads", port.shape[1])
        if len(shape) == 4:
            _compare_width(artifact, port.shape[3], shape[3])


def _compare_width(artifact: Artifact, of_graph: object, expected: int) -> None:
    """Compare the last dimension of keys and values: head_dim, or the bytes of packed rows."""
    if artifact.kv_cache != "int4":
        _compare(artifact, "head_dim", of_graph)
    elif type(of_graph) is int and of_graph != expected:
        stated = f"head_dim is {artifact.head_dim}, which takes {expected} bytes of an int4 cache"
        raise _other_graph(artifact, f"has {of_graph}", stated)


def _check_embedding(artifact: Artifact, runtime: ort.InferenceSession) -> None:
    """Refuse a manifest of a network that embeds texts for another graph."""
    inputs = {port.name: len(port.shape) for port in runtime.get_inputs()}
    if inputs != dict.fromkeys(FED[:2], 2):
        raise _other_graph(artifact, f"has the inputs {', '.join(inputs)}", "task is 'embedding'")
    outputs = {port.name: port.shape for port in runtime.get_outputs()}
    shape = outputs.get(VECTORS, ())
    if len(shape) != 2 or type(shape[1]) is not int:
        raise _other_graph(artifact, f"has the outputs {', '.join(outputs)}", "task is 'embedding'")


def _is_key(name: str) -> bool:
    return name.startswith(PAST) and name.endswith(".key")


def _compare(artifact: Artifact, field: str, of_graph: object) -> None:
    """Compare a field of the manifest with the graph, where a size left open has a name."""
    stated = artifact.manifest[field]
    if of_graph != stated and (type(of_graph) is int or isinstance(stated, str)):
        raise _other_graph(artifact, f"has {of_graph!r}", f"{field} is {stated!r}")


def _other_graph(
    artifact: Artifact, found: str, stated: str = "describes a cache"
) -> ArtifactError:
    return ArtifactError(
        f"{artifact.folder / MANIFEST}: {stated}, but {artifact.model_path.name} {found}, expected "
        "the manifest of this graph",
        hint="export the checkpoint again",
    )


def _register_library(options: ort.SessionOptions) -> None:
    native.active_kernel()  # refuses a forced kernel that cannot run, and lists those that can
    try:
        options.register_custom_ops_library(str(native.library_path()))
    except Exception as error:
        raise LibraryError(
            f"ONNX Runtime {ort.__version__} refused the custom-op library: {first_line(error)}",
            hint="install versions of bitnet-onnx and onnxruntime that belong together",
        ) from error


def _lend_weights(options: ort.SessionOptions, model: bytes, folder: Path) -> list[ort.OrtValue]:
    """Let a session use weights where they are mapped; return what must live as long as it."""
    lent = []
    for table, array in mapped_weights(model, folder):
        lent.append(ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, table.kind))
        options.add_initializer(table.name, lent[-1])
    return lent


def first_line(error: Exception) -> str:
    """Return the first line of an exception's text."""
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
