"""Write the licences that an app is passed on with: of this project, of ONNX Runtime, of its parts.

    python -m mobile_demo.licences FILE

ONNX Runtime's are those of the installed package from PyPI: its packages for phones have none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime

__all__ = ["text"]

ROOT = Path(__file__).resolve().parents[1]


def text(compiler: Path | None = None) -> str:
    """Return all licences, each under a title.

    compiler: the folder of the package ziglang, where it links its own run-time library.
    """
    runtime = Path(onnxruntime.__file__).parent
    title = f"ONNX Runtime {onnxruntime.__version__}"
    parts = {
        "bitnet_onnx": ROOT / "LICENSE",
        "ONNX Runtime": runtime / "LICENSE",
        f"{title}: third-party notices": runtime / "ThirdPartyNotices.txt",
    }
    if compiler:
        parts |= {
            "Zig: compiler-rt": compiler / "LICENSE",
            "LLVM: libc++": compiler / "lib" / "libcxx" / "LICENSE.TXT",
        }
    line = "=" * 72
    return "\n".join(
        f"{line}\n{name}\n{line}\n\n{path.read_text('utf-8', 'replace').strip()}\n"
        for name, path in parts.items()
    )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mobile_demo.licences FILE")
    Path(sys.argv[1]).write_text(text(), "utf-8")


if __name__ == "__main__":
    main()
