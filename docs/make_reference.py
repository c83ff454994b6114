"""Write the Python reference with pdoc: ``python docs/make_reference.py build/docs``.

It shows the names of ``bitnet_onnx`` and the types of what they return. A warning of pdoc, and a
public name without a word of explanation, is an error.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pdoc
import pdoc.doc
import pdoc.render

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FACE = "bitnet_onnx"
# What the face's functions take and return, and the modules in which it is defined.
RESULTS = {
    "bitnet_onnx.generation.chat": ["Turn"],
    "bitnet_onnx.generation.extras": ["Extras"],
    "bitnet_onnx.generation.watermark": ["WatermarkDetectorOutput"],
    "bitnet_onnx.runtime.session": ["Lease"],
    "bitnet_onnx.runtime.cache.growing": ["CachedRow"],
}


def main() -> int:
    if len(sys.argv) != 2:
        print("error: expected one argument, the folder to write", file=sys.stderr)
        return 2
    pages = list(modules())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        missing = [name for page in pages for name in undocumented(page)]
        footer = f"bitnet_onnx {import_module(FACE).__version__}"
        pdoc.render.configure(docformat="markdown", show_source=False, footer_text=footer)
        pdoc.pdoc(FACE, *RESULTS, output_directory=Path(sys.argv[1]))
    for name in missing:
        print(f"error: {name} has no docstring, and that of its class does not name it")
    for warning in said:
        print(f"error: {warning.message}")
    return 1 if missing or said else 0


def modules() -> Iterator[pdoc.doc.Module]:
    """The pages, with what each of them shows."""
    face = import_module(FACE)
    for name in face.__all__:
        getattr(face, name)  # a name is there once it was used
    yield pdoc.doc.Module(face)
    for name, shown in RESULTS.items():
        module = import_module(name)
        module.__all__ = shown  # type: ignore[attr-defined]
        yield pdoc.doc.Module(module)


def undocumented(namespace: pdoc.doc.Namespace[Any]) -> Iterator[str]:
    """Public names without a docstring that the docstring of their class does not name either."""
    for member in namespace.own_members:
        if member.name.startswith("_"):
            continue
        named = re.search(rf"\b{member.name}\b", namespace.docstring)
        if not (named or member.docstring.strip()):
            yield member.fullname
        if isinstance(member, pdoc.doc.Class):
            yield from undocumented(member)


if __name__ == "__main__":
    raise SystemExit(main())
