"""The files of every wheel and the symbols of every library, as the sources state them."""

from __future__ import annotations

import re
import subprocess

from tests.support.paths import ROOT


def tracked_files() -> set[str]:
    """Return the package's files that git tracks; none outside a checkout."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "bitnet_onnx"], capture_output=True, text=True
    )
    return set(done.stdout.split("\n")) - {""} if done.returncode == 0 else set()


def exported_symbols() -> set[str]:
    listed = re.search(r"global:(.*?)local:", (ROOT / "custom_ops/exports.map").read_text(), re.S)
    assert listed is not None
    return set(re.findall(r"\w+", re.sub(r"/\*.*?\*/|#.*", "", listed[1])))
