"""Write what the Swift package lists of custom_ops and the engine, after a file is added there.

That is the lists in Package.swift, and isa/: SwiftPM passes no compiler flags for single files, so
each kernel that needs an instruction set is included by a file in the way that this set wants
(isa/<instruction set>.h).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST = HERE / "Package.swift"
OPERATORS = HERE / "Sources" / "BitnetOperators"
ENGINE = HERE / "Sources" / "BitnetEngine" / "src"
ISA = OPERATORS / "isa"
WIDTH = 100
NO_SOURCE = re.compile(r"(test|bench|fuzz)(_\w+)?\.cc")  # programs of their own
MARKS = ("// Begin: make_sources.py writes this.\n", "// End.\n")


def isa_files() -> dict[Path, str]:
    """Return the text of each file of isa/, by its path."""
    texts = {}
    for kernel in [*OPERATORS.glob("kernels/*/arm_*.cc"), *OPERATORS.glob("kernels/*/x86_*.cc")]:
        source = kernel.relative_to(OPERATORS).as_posix()
        path = ISA / kernel.stem / f"{kernel.parent.name}.cc"
        texts[path] = f'#define SOURCE "{source}"\n#include "isa/{kernel.stem}.h"\n'
    return texts


def manifest() -> str:
    """Return the text that Package.swift should have."""
    operators = names(OPERATORS, ["platform/*.cc", "kernels/kernels.cc", "kernels/*/scalar.cc",
                                  "operators/*/*.cc", "onnxruntime/*.cc"])  # fmt: skip
    operators = [name for name in operators if not NO_SOURCE.fullmatch(Path(name).name)]
    operators.remove("onnxruntime/register.cc")  # the one beside isa/ includes it
    no_source = names(ENGINE, ["**/test_*.cc", "**/*.inc"])
    text = MANIFEST.read_text("utf-8")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    lists = swift("operators", operators) + swift("notOfTheEngine", no_source)
    return before + MARKS[0] + lists + MARKS[1] + after


def names(folder: Path, patterns: Iterable[str]) -> list[str]:
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [path.relative_to(folder).as_posix() for path in paths]


def swift(name: str, values: Iterable[str]) -> str:
    """Return an array of strings in lines that are not too long."""
    lines = [f"let {name} = ["]
    for value in values:
        item = f'"{value}",'
        if len(lines) > 1 and len(lines[-1]) + 1 + len(item) <= WIDTH:
            lines[-1] += " " + item
        else:
            lines.append("  " + item)
    return "\n".join([*lines, "]\n"])


def main() -> None:
    """Write the files, and remove those whose kernel is gone."""
    texts = isa_files()
    for path in set(ISA.glob("*/*.cc")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    MANIFEST.write_text(manifest(), "utf-8")


if __name__ == "__main__":
    main()
