"""What every wheel must hold and every library must export, as the sources state it."""

from __future__ import annotations

import re
import subprocess

from tests.support.paths import ROOT


def tracked_files() -> set[str]:
    """Those of the package that git knows; none where this is no checkout."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "bitnet_onnx"], capture_output=True, text=True
    )
    return set(done.stdout.split("\n")) - {""} if done.returncode == 0 else set()


def exported_symbols() -> set[str]:
    listed = re.search(r"global:(.*?)local:", (ROOT / "custom_ops/exports.map").read_text(), re.S)
    assert listed is not None
    return set(re.findall(r"\w+", re.sub(r"/\*.*?\*/|#.*", "", listed[1])))
