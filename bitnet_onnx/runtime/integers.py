"""Integers that a caller gives: token ids, rows, lengths.

Knows Python's and NumPy's integers; does not know sessions or ONNX Runtime. A bool or a float is
never an integer, since a mistake gave it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import GenerationError

__all__ = ["Ids", "integer", "integers", "token_ids"]

Ids = Sequence[int | np.integer[Any]] | npt.NDArray[np.integer[Any]]


def integer(name: str, value: Any) -> int:
    """Return an integer of any kind as Python's; raise GenerationError for anything else."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return index(value)
    except TypeError:
        raise GenerationError(f"{name} is {value!r}, expected an integer") from None


def integers(name: str, values: Any) -> list[int]:
    """Return a sequence or one-dimensional array of integers as a list; ``name`` is of one."""
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise GenerationError(
                f"{name}s are an array of {values.ndim} dimensions, expected one dimension"
            )
        values = values.tolist()
    unordered = isinstance(values, (str, bytes, bytearray, Mapping, Set))
    if unordered or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        raise GenerationError(f"{name}s are {values!r}, expected a sequence of integers")
    return [integer(f"a {name}", value) for value in values]


def token_ids(ids: Ids, vocab_size: int) -> list[int]:
    """Return ids as a list; raise GenerationError where one is outside the vocabulary."""
    found = integers("token id", ids)
    for token in found:
        if not 0 <= token < vocab_size:
            raise GenerationError(
                f"token id {token} is outside the vocabulary, expected 0 to {vocab_size - 1}"
            )
    return found
