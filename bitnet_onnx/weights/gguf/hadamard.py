"""The rotated basis that the metadata of PrismML's Bonsai 2 declares.

Knows the keys and names of a GGUF file; ``network/hadamard.py`` checks the values.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...network.config import BitNetConfig
from ...network.hadamard import PREFIX
from ..hadamard import declared
from .container import GgufFile
from .names import gguf_names

__all__ = ["rotated_basis"]


def rotated_basis(file: GgufFile, config: BitNetConfig, ignore: Collection[str]) -> BitNetConfig:
    """Return the config with the basis that the file declares, itself where it declares none."""
    keys = [key for key in file.fields if key.startswith(PREFIX) and key not in ignore]
    if not keys or not config.record.prism:
        return config
    found: dict[str, Any] = {}
    for key in keys:
        value = file.fields[key]
        found[key] = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        return declared(config, found, partial(gguf_names, config.record))
    except ConfigError as error:
        raise ConfigError(f"{file.path}: {error}", hint=error.hint) from None
