"""A GGUF model of one file, or of several that ``llama-gguf-split`` made.

Knows the names of parts, ``<name>-00002-of-00003.gguf``, and the fields ``split.*`` that must agree
with them. The first part has the metadata of the whole, each part some of the tensors.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from ...errors import CheckpointError
from .container import GgufFile

__all__ = ["GGUF", "is_gguf", "open_gguf", "part_names"]

GGUF = ".gguf"
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.gguf)", re.I | re.A)
NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
ALIGNMENT = "general.alignment"  # each part has its own
AGAIN = "download all parts of the model again"


def is_gguf(path: PurePath) -> bool:
    """Return whether the name says that this is a GGUF file, in letters of either case."""
    return path.suffix.lower() == GGUF


def part_names(name: str) -> list[str]:
    """Return the names of all parts of the model, in order; only ``name`` where it has one part."""
    match = PART.fullmatch(name)
    if match is None:
        return [name]
    count = int(match["count"])
    return [f"{match['stem']}-{i + 1:05}-of-{count:05}{match['end']}" for i in range(count)]


def open_gguf(path: Path) -> GgufFile:
    """Open the model of which ``path`` is the only part or any part.

    Raises CheckpointError naming a part that is missing, given twice, or that disagrees.
    """
    names = part_names(path.name)
    if not names:
        raise CheckpointError(f"{path} is part of 0, expected a name such as m-00001-of-00002.gguf")
    if path.name not in names:
        raise CheckpointError(f"{path} is not among the {len(names)} parts that its name states")
    missing = [name for name in names if not path.with_name(name).exists()]
    if missing:
        raise CheckpointError(
            f"{path.parent} lacks {len(missing)} of the {len(names)} parts of the model: "
            f"{', '.join(missing[:3])}{', …' if missing[3:] else ''}",
            hint="put all parts into one folder",
        )
    files = [GgufFile(path.with_name(name)) for name in names]
    for number, file in enumerate(files):
        _check(file, number, len(files))
    first = files[0]
    for file in files[1:]:
        _join(first, file)
    total = first.scalar(TENSORS)
    if total not in (None, len(first.tensors)):
        first.refuse(TENSORS, f"is {total}, but the parts hold {len(first.tensors)}", AGAIN)
    return first


def _check(file: GgufFile, number: int, count: int) -> None:
    """Refuse a file whose fields say that it is another part than its name says."""
    for key, expected in ((COUNT, count), (NUMBER, number)):
        found = file.scalar(key)
        if found != expected and not (found is None and count == 1):
            file.refuse(key, f"is {found!r}, but the file's name says {expected}", AGAIN)


def _join(first: GgufFile, file: GgufFile) -> None:
    """Add the tensors of a later part to the first."""
    for key in file.fields:
        if key in (NUMBER, ALIGNMENT):
            continue
        if key not in first.fields or file.fields.raw(key) != first.fields.raw(key):
            file.refuse(key, f"is not as in {first.path.name}, which has the metadata", AGAIN)
    for name, info in file.tensors.items():
        if name in first.tensors:
            file.refuse(name, f"is in {first.tensors[name].reader.path.name} too", AGAIN)
        first.tensors[name] = info
    first.paths.append(file.path)
