"""The rotated basis that a folder declares in hadamard.json, as PrismML's MLX packs have it.

Knows the file and its names; ``network/hadamard.py`` checks the values.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from ...errors import ConfigError
from ...files import read_object
from ...network.config import BitNetConfig
from ...network.hadamard import PREFIX
from ...network.records import Network
from ..gguf.names import gguf_names
from ..hadamard import declared
from .files import HADAMARD, refuse_others

__all__ = ["rotated_basis"]

OUTER = "language_model."  # before the names of MLX's vision models


def rotated_basis(folder: Path, config: BitNetConfig, ignore: Collection[str]) -> BitNetConfig:
    """Return the config with the basis that hadamard.json declares, itself where there is none.

    Refuses other files beside config.json that say that the weights alone are not the network.
    """
    path = folder / HADAMARD
    if not config.record.prism or HADAMARD in ignore or not path.exists():
        refuse_others(folder, ignore)
        return config
    refuse_others(folder, {*ignore, HADAMARD})
    found = read_object(path, ConfigError)
    fields = {f"{PREFIX}{key.removeprefix(PREFIX)}": value for key, value in found.items()}
    if len(fields) < len(found):
        raise ConfigError(f"{path}: a field is given with the prefix {PREFIX!r} and without it")
    try:
        return declared(config, fields, partial(_names, config.record))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from None


def _names(network: Network, name: str) -> tuple[str, ...]:
    """Return the names that a tensor may have: those of MLX, with and without .weight, and GGUF."""
    plain = (name, name.removesuffix(".weight"))
    return (*plain, *(OUTER + one for one in plain), *gguf_names(network, name))
