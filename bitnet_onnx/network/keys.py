"""The keys of config.json and of GGUF metadata that nothing here reads: tolerated, refused, noted.

A key of a family that can change a network is refused by name, unless its value is one at which it
changes nothing. Any other unread key is noted. Knows names and values; knows no network and no
file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ..errors import ConfigError
from .key_lists import FAMILIES, GENERATION, Tolerated

__all__ = ["Unread", "sort_out"]


class Unread(NamedTuple):
    """What ``sort_out`` found."""

    noted: tuple[str, ...] = ()
    """Keys that belong to no list."""
    ignored: tuple[str, ...] = ()
    """Keys that the user chose to ignore."""


VENDOR = "a prefix of its own"
SHOWN = 60  # characters of a value that a message holds


def sort_out(
    found: Mapping[str, Any],
    tolerated: Collection[Tolerated],
    *,
    read: Collection[str],
    ignore: Collection[str] = (),
    prefix: str | None = None,
) -> Unread:
    """Return which keys are noted and ignored; raise ConfigError naming one that is refused.

    read: the keys that have a reader. ignore: keys that the user chose to ignore.
    tolerated: where two rows have a name, the first one holds.
    prefix: ``general.architecture`` of GGUF metadata, None for a config.json.
    """
    noted, ignored = [], []
    for key, value in found.items():
        if key in ignore:
            if key in read:
                raise ConfigError(
                    f"ignore_keys names {key}, which is read, expected a key that is not read"
                )
            ignored.append(key)
        elif key in read or value is None:
            continue
        elif (row := _row(key, tolerated, prefix)) is None:
            for name in _names(key, value):
                _refuse_family(name, key, value, prefix)
            noted.append(key)
        elif not _is_among(value, row.values) and not _switched_off(key, found):
            if row.reason != GENERATION:
                listed = " or ".join(["null", *map(repr, row.values or ())])
                _refuse(key, key, value, f"expected {listed}: {row.reason}")
            noted.append(key)
    return Unread(tuple(noted), tuple(ignored))


def _row(key: str, tolerated: Collection[Tolerated], prefix: str | None) -> Tolerated | None:
    name = key
    if prefix is not None and key.startswith(f"{prefix}."):
        name = key.removeprefix(prefix)
    for row in tolerated:
        if any(fnmatchcase(name, pattern) for pattern in row.names.split()):
            return row
    return None


def _is_among(value: Any, values: tuple[Any, ...] | None) -> bool:
    """Compare, with 1 equal to 1.0 and not to True; of a list, each element.

    A flag has no list of values.
    """
    if values is None:
        return True
    if value in ([], {}):
        return not values  # as null is
    flags = all(isinstance(known, bool) for known in values)
    elements = value if isinstance(value, list) and not flags else [value]
    return all(
        any(isinstance(v, bool) == isinstance(known, bool) and v == known for known in values)
        for v in elements
    )


def _switched_off(key: str, found: Mapping[str, Any]) -> bool:
    """Return whether a key beside makes this one void, as in the configs of Qwen."""
    return key == "sliding_window" and found.get("use_sliding_window") is False


def _names(key: str, value: Any) -> Iterator[str]:
    """Yield the key, and the keys of objects inside it as ``key.inner``; those in lists, too."""
    yield key
    if isinstance(value, dict):
        for inner, content in value.items():
            yield from _names(f"{key}.{inner}", content)
    elif isinstance(value, list):
        for content in value:
            if isinstance(content, (dict, list)):
                yield from (name for name in _names(key, content) if name != key)


def _refuse_family(name: str, key: str, value: Any, prefix: str | None) -> None:
    """Refuse a name that belongs to a family, or that has a prefix which is not the file's own."""
    own = (f"{prefix}.", "general.") if prefix is not None else ()
    foreign = "." in name and name == key and not name.startswith(own)
    text = name
    for start in own:
        text = text.removeprefix(start)
    words = re.findall("[a-z]+[0-9]*", re.sub("([a-z])([A-Z])", r"\1_\2", text).lower())
    stems = {word.removesuffix("s") for word in words}
    for family in FAMILIES:
        known = {word.removesuffix("s") for word in family.words.split()}
        if any(part in text.lower() for part in family.inside.split()) or known & stems:
            _refuse(
                name,
                key,
                value,
                f"which is not understood: keys of {family.title} can change the network",
            )
    if foreign:
        _refuse(name, key, value, f"which is not understood: {VENDOR} can change the network")


def _refuse(name: str, key: str, value: Any, what: str) -> None:
    shown = repr(value) if name == key else "given"
    if len(shown) > SHOWN:
        shown = f"{shown[: SHOWN - 3]}..."
    raise ConfigError(
        f"{name} is {shown}, {what}",
        hint=f"if the weights do not need it, ignore it by name: --ignore-key {key} "
        f"(in Python: ignore_keys=[{key!r}])",
    )
