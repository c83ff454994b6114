"""Write Sources/BitnetOperators/isa: one file for each kernel of custom_ops that needs flags.

SwiftPM passes no compiler flags for single files. So each of these files includes one kernel in
the way that its instruction set wants (isa/<instruction set>.h).
"""

from pathlib import Path

HERE = Path(__file__).parent
KERNELS = HERE.parent.parent / "custom_ops" / "kernels"
ISA = HERE / "Sources" / "BitnetOperators" / "isa"


def wrappers() -> dict[Path, str]:
    """Return the text of each file, by its path."""
    texts = {}
    for kernel in sorted([*KERNELS.glob("*/arm_*.cc"), *KERNELS.glob("*/x86_*.cc")]):
        source = kernel.relative_to(KERNELS.parent).as_posix()
        path = ISA / kernel.stem / f"{kernel.parent.name}.cc"
        texts[path] = f'#define SOURCE "{source}"\n#include "isa/{kernel.stem}.h"\n'
    return texts


def main() -> None:
    """Write the files, and remove those whose kernel is gone."""
    texts = wrappers()
    for path in ISA.glob("*/*.cc"):
        if path not in texts:
            path.unlink()
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
