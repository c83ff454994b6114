"""``bitnet-onnx info``: print versions, the library, its kernels, and an artifact's manifest."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from .common import add_format, print_json, say

HELP = "print versions, kernels, and an artifact's manifest"
PACKAGES = ("onnxruntime", "numpy", "tokenizers", "torch", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, nargs="?", help="an artifact, or a .gguf file")
    parser.add_argument(
        "--check", action="store_true", help="compare every file's sha256 with the manifest"
    )
    parser.add_argument(
        "--ignore-key", metavar="NAME", action="append", default=[],
        help="describe a .gguf file without this key, which is refused; may be repeated",
    )  # fmt: skip
    add_format(parser, "text", "json")


def run(args: argparse.Namespace) -> None:
    from ..artifact import Artifact

    found = _here()
    about: Any = None
    if args.artifact is not None and args.artifact.suffix.lower() == ".gguf":
        from ..weights.gguf.checkpoint import GgufCheckpoint

        about = GgufCheckpoint(args.artifact, ignore_keys=args.ignore_key).describe()
    elif args.artifact is not None:
        artifact = Artifact.open(args.artifact)
        about = artifact.manifest
        if args.check:
            artifact.check_hashes()
            say("every file has the manifest's sha256")
    if args.format == "json":
        print_json(found if about is None else {**found, "artifact": about})
        return
    for name, value in found.items():
        print(f"{name:<14} {', '.join(value) if isinstance(value, list) else value}")
    if about is not None:
        print_json(about)


def _here() -> dict[str, Any]:
    """Return the installed versions and kernels; report, not raise, a library that fails."""
    from .. import native
    from ..errors import LibraryError

    if os.environ.get("BITNET_ONNX_KERNEL"):
        native.active_kernel()  # what was asked for by name is refused, as in other commands
    found: dict[str, Any] = {
        "bitnet-onnx": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    try:
        found["library"] = f"{native.library_path()} ({native.version()})"
        found["kernels"] = native.kernels()
        found["active kernel"] = native.active_kernel()
    except LibraryError as error:
        found["library"] = f"not usable: {error}"
    return found
