"""Open an artifact in ONNX Runtime: session options, the custom-op library, errors.

Knows ONNX Runtime; does not know the cache or ids.
"""

from __future__ import annotations

import os

from .. import native
from ..artifact import MANIFEST, Artifact
from ..errors import ArtifactError, GenerationError, LibraryError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it once, at import
import onnxruntime as ort

__all__ = ["first_line", "open_runtime"]

CACHE_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int8)": "int8"}


def open_runtime(
    artifact: Artifact,
    threads: int,
    custom_ops: bool,
    profile: str | None,
    model: bytes | None,
    counters: native.Counters | None,
) -> ort.InferenceSession:
    """Load the artifact's graph, or ``model`` instead; arguments and errors as in ``Session``."""
    if threads < 0:
        raise GenerationError(f"threads is {threads}, expected 0 (one per core) or more")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: they also reach the caller as exceptions
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if custom_ops and artifact.target == "native":
        if counters is not None:  # the library reads the entry when it is registered
            options.add_session_config_entry(*counters.session_entry)
        _register_library(options)
    if model is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(artifact.folder)
        )
    try:
        runtime = ort.InferenceSession(
            model or str(artifact.model_path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises its own types, not exported by name
        raise ArtifactError(
            f"ONNX Runtime {ort.__version__} cannot load {artifact.model_path}: "
            f"{first_line(error)}",
            hint="check the artifact with: bitnet-onnx info ARTIFACT --check",
        ) from error
    _check_graph(artifact, runtime)
    return runtime


def _check_graph(artifact: Artifact, runtime: ort.InferenceSession) -> None:
    """Refuse a manifest that describes another graph: buffers are made of its sizes."""
    inputs = {given.name: given for given in runtime.get_inputs()}
    logits = next((out.shape for out in runtime.get_outputs() if out.name == "logits"), [None])
    key = inputs.get("past_key_values.0.key")
    sizes = [None] * 4 if key is None else key.shape
    found = {
        "vocab_size": logits[-1],
        "num_hidden_layers": sum(name.endswith(".key") for name in inputs),
        "num_key_value_heads": sizes[1],
        "head_dim": sizes[3],
        "kv_cache": None if key is None else CACHE_TYPES.get(key.type, key.type),
    }
    for name, of_graph in found.items():
        stated = artifact.manifest[name]
        # A size that the graph leaves open has a name there.
        if of_graph != stated and not (isinstance(of_graph, str) and isinstance(stated, int)):
            raise ArtifactError(
                f"{artifact.folder / MANIFEST}: {name} is {stated!r}, expected {of_graph!r} as in "
                f"{artifact.model_path.name}",
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


def first_line(error: Exception) -> str:
    """Return the first line of an exception's text."""
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
