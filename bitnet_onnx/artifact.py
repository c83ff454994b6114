"""The artifact folder: what an exported model is on disk.

Knows its file names, its manifest and its checks; knows neither torch nor ONNX Runtime.
``manifest.json`` lists every other file with its size and sha256. A reader refuses an unknown field
or value by name. The other files carry the names that other tools expect.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .files import read_object, sha256, write_text

__all__ = ["Artifact", "data_files", "write_manifest"]

FORMAT_VERSION = 2
MODEL = "model.onnx"
LAST = "model_last.onnx"  # the graph for clients that read the logits of the last position alone
HEAD = "model_head.onnx"  # the head alone, where the graph gives hidden states
WEIGHTS = "model.onnx_data"  # further parts: model.onnx_data_1, model.onnx_data_2, ...
CONFIG = "config.json"  # what other clients read
CHECKPOINT_CONFIG = "checkpoint_config.json"  # what the network is
CHAT = "chat.json"  # the chat template for programs without Jinja
MANIFEST = "manifest.json"
TASK, EMBEDDING = "text-generation", "embedding"
USES = {TASK: "bitnet-onnx generate or chat", EMBEDDING: "bitnet-onnx embed"}
TARGETS = ("native", "stock")  # on the custom-op library; on ONNX Runtime's operators alone
KV_CACHES = ("float32", "float16", "int8", "int4")
SCALED_CACHES = ("int8", "int4")  # with a scale for each position and head
CACHE_BLOCK, CACHE_BLOCK_BYTES = 32, 17  # elements, and bytes, of a block of an int4 row
LINEARS = ("ternary", "bf16", "float32", "int8")  # the first one where the field is left out
OUTPUTS = ("logits", "hidden-states")  # so here; hidden states come beside the logits
HASHED_AT_OPEN = 16 << 20  # bytes: only ``check_hashes`` reads the whole of larger files

_KNOWN: dict[str, tuple[Any, ...]] = {
    "format_version": (1, FORMAT_VERSION),
    "operator_domain_version": (1,),
    "task": (TASK, EMBEDDING),
    "target": TARGETS,
    "head": (
        "bf16",
        "int8",
        "int6",
        "int4",
        "float32",
        "two-step",
        "two-step-int6",
        "two-step-int4",
    ),
    "kv_cache": KV_CACHES,
    "linears": LINEARS,
    "outputs": OUTPUTS,
    "pooling": ("none", "last", "mean"),  # of a network that embeds texts
    "normalize": (False, True),
}
_SIZES = (
    "context_length",
    "vocab_size",
    "num_hidden_layers",
    "num_key_value_heads",
    "head_dim",
)
_ENTRY = ("size", "sha256")
_FIELDS = {*_KNOWN, *_SIZES, "network", "source", "files", "tools"}  # with the optional ones
# Version 1 lacks these fields. Its data files are model.onnx.data or model-00001-of-00002.onnx.data
# and so on, and its config.json is the checkpoint's own.
_NEW_IN_2 = {"task": TASK, "network": ""}
_OPTIONAL = {"linears": LINEARS[0], "outputs": OUTPUTS[0], "pooling": "none", "normalize": False}
_DATA = re.compile(r"model\.onnx_data(_[0-9]+)?|model(-[0-9]+-of-[0-9]+)?\.onnx\.data")


def write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """Add ``manifest.json``, with the size and hash of every file, to an otherwise complete folder.

    fields: all but ``format_version`` and ``files``; an optional one at its default is left out.
    """
    fields = {name: value for name, value in fields.items() if _OPTIONAL.get(name) != value}
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.iterdir())
    }
    manifest = {"format_version": FORMAT_VERSION, **fields, "files": files}
    assert _FIELDS - _OPTIONAL.keys() <= set(manifest) <= _FIELDS, set(manifest) ^ _FIELDS
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


@dataclass(frozen=True)
class Artifact:
    """An artifact folder whose manifest was read and whose files have the listed sizes.

    ``folder`` is its path and ``manifest`` what manifest.json holds. These fields of the manifest
    are attributes, too: context_length, vocab_size, num_hidden_layers, num_key_value_heads,
    head_dim, target, head, kv_cache, linears, outputs.
    """

    folder: Path
    manifest: dict[str, Any]
    context_length: int
    vocab_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_dim: int
    target: str
    head: str
    kv_cache: str
    linears: str = LINEARS[0]
    outputs: str = OUTPUTS[0]

    @classmethod
    def open(cls, folder: str | Path) -> Artifact:
        """Read and check a folder; raise ArtifactError naming the file and the field."""
        if not isinstance(folder, (str, os.PathLike)):
            raise ArtifactError(f"the artifact is {folder!r}, expected the path of its folder")
        folder = Path(folder)
        if not folder.is_dir():
            raise ArtifactError(
                f"{folder} is not an artifact folder",
                hint="make one with: bitnet-onnx export CHECKPOINT -o ARTIFACT",
            )
        manifest = _read_manifest(folder / MANIFEST)
        names = ("target", "head", "kv_cache", "linears", "outputs", *_SIZES)
        named = {name: manifest[name] for name in names}
        artifact = cls(folder, manifest, **named)
        for name, entry in manifest["files"].items():
            artifact._check_file(name, entry, hashed=entry["size"] <= HASHED_AT_OPEN)
        return artifact

    def of_task(self, task: str) -> Artifact:
        """Return the artifact itself; raise ArtifactError where its task is another."""
        if (found := self.manifest["task"]) != task:
            raise ArtifactError(
                f"{self.folder} is for {found}, expected an artifact for {task}",
                hint=f"use it with: {USES[found]}",
            )
        return self

    @property
    def model_path(self) -> Path:
        """The graph."""
        return self.folder / MODEL

    @property
    def config_path(self) -> Path:
        """The config of the network, as in the checkpoint."""
        own = CHECKPOINT_CONFIG if CHECKPOINT_CONFIG in self.manifest["files"] else CONFIG
        return self.folder / own

    @property
    def fingerprint(self) -> str:
        """A hash of graph and weights: folders with the same one compute the same numbers."""
        files = self.manifest["files"]
        parts = [files[name]["sha256"] for name in sorted(files) if name == MODEL or _is_data(name)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def data_size(self) -> int:
        """Bytes of the weights, which are mapped and not read."""
        files = self.manifest["files"]
        return sum(int(files[name]["size"]) for name in files if _is_data(name))

    def check_hashes(self) -> None:
        """Compare every file's sha256 with the manifest; raise ArtifactError where one differs."""
        for name, entry in self.manifest["files"].items():
            self._check_file(name, entry, hashed=True)

    def _check_file(self, name: str, entry: dict[str, Any], hashed: bool) -> None:
        path = self.folder / name
        again = "export or copy the artifact again"
        try:
            size = path.stat().st_size
        except OSError:
            raise ArtifactError(f"{path} does not exist but is in the manifest", again) from None
        if not path.is_file():  # reading a pipe would wait for ever
            raise ArtifactError(f"{path} is not a file but is in the manifest", again)
        if size != entry["size"]:
            raise ArtifactError(
                f"{path} has {size} bytes, expected {entry['size']} as in the manifest: it is "
                "truncated or was changed",
                again,
            )
        if hashed and sha256(path) != entry["sha256"]:
            raise ArtifactError(f"{path} is corrupt: its sha256 differs from the manifest's", again)


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = read_object(
        path, ArtifactError, hint="make one with: bitnet-onnx export CHECKPOINT -o ARTIFACT"
    )
    version = manifest.get("format_version")
    # Before the fields: those of a later version may differ.
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version is {version!r}, expected 1 to {FORMAT_VERSION}",
            hint="export the checkpoint again, or install the bitnet_onnx that made the artifact",
        )
    expected = _FIELDS - _NEW_IN_2.keys() - _OPTIONAL.keys() if version == 1 else _FIELDS
    for name in sorted((expected | set(manifest)) - (expected & set(manifest))):
        if name in _OPTIONAL and name in expected:
            continue
        what = "is unknown to this bitnet_onnx" if name in manifest else "is missing"
        raise ArtifactError(f"{path}: the field {name} {what}")
    manifest = {**_NEW_IN_2, **_OPTIONAL, **manifest}
    for name, known in _KNOWN.items():
        if type(manifest[name]) is not type(known[0]) or manifest[name] not in known:
            listed = ", ".join(map(repr, known))
            raise ArtifactError(f"{path}: {name} is {manifest[name]!r}, expected one of: {listed}")
    for name in _SIZES:
        if type(manifest[name]) is not int or not 1 <= manifest[name] < 1 << 31:
            raise ArtifactError(
                f"{path}: {name} is {manifest[name]!r}, expected an integer from 1 to 2147483647"
            )
    if (manifest["task"] == EMBEDDING) is (manifest["pooling"] == "none"):
        task, pooling = manifest["task"], manifest["pooling"]
        raise ArtifactError(
            f"{path}: pooling is {pooling!r} for task {task!r}, expected none for {TASK!r} and a "
            f"kind for {EMBEDDING!r}"
        )
    if not isinstance(manifest["network"], str):
        raise ArtifactError(f"{path}: network is {manifest['network']!r}, expected a name")
    for name in ("source", "tools"):
        if not isinstance(manifest[name], dict):
            raise ArtifactError(f"{path}: {name} is {manifest[name]!r}, expected an object")
    _check_file_list(path, manifest["files"])
    return manifest


def _check_file_list(path: Path, files: Any) -> None:
    if not isinstance(files, dict) or MODEL not in files or not any(map(_is_data, files)):
        raise ArtifactError(f"{path}: files lacks {MODEL} or {WEIGHTS}, expected both")
    for name, entry in files.items():
        # The separators of every system: on Windows "C:a" leads to another drive.
        plain = name not in ("", ".", "..") and not set(name) & set("/\\:\0")
        whole = isinstance(entry, dict) and set(entry) == set(_ENTRY)
        if not (plain and whole and [type(entry[key]) for key in _ENTRY] == [int, str]):
            raise ArtifactError(
                f"{path}: files[{name!r}] is {entry!r}, expected a plain file name with its size "
                "and sha256"
            )


def data_files(folder: Path) -> list[str]:
    """Return the names of the files with the weights, in order."""
    return sorted(path.name for path in folder.iterdir() if _is_data(path.name))


def _is_data(name: str) -> bool:
    return _DATA.fullmatch(name) is not None


def int4_bytes(head_dim: int) -> int:
    """Return the bytes of a position of one head in an int4 cache, without its scale."""
    return -(-head_dim // CACHE_BLOCK) * CACHE_BLOCK_BYTES
