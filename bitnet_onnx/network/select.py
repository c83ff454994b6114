"""Which network a ``config.json`` describes, where the tensors show what it does not say.

Knows the fields that name a network; its record says the rest.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import fields as read
from .body import Body, Look
from .records import RECORDS, Network, of_config
from .unsupported import UNSUPPORTED

__all__ = ["network_of"]


def network_of(fields: dict[str, Any], look: Look | None) -> tuple[Network, Body | None]:
    """Return the network's record, and what the tensors of one that embeds texts show.

    Raises ConfigError where the network is unknown.
    """
    if fields.get("model_type") is None:  # the class that comes with the checkpoint names it
        classes = {n.architecture: n for n in RECORDS.values() if not n.in_transformers}
        for architecture, declared in classes.items():
            if fields.get("architectures") == [architecture]:
                fields["model_type"] = declared.model_type
    found = fields.get("model_type")
    if isinstance(found, str) and found in UNSUPPORTED:
        raise ConfigError(f"model_type is {found!r}, {UNSUPPORTED[found]}")
    known = tuple(dict.fromkeys(network.model_type for network in RECORDS.values()))
    read.one_of(fields, "model_type", known, None)
    read.one_of(fields, "weight_bits", (1, None), None)
    read.one_of(fields, "input_bits", (8, None), None)
    tasks = {n.task for n in RECORDS.values() if n.model_type == fields.get("model_type")}
    body = look() if look is not None and "embedding" in tasks else None
    embeds = True if tasks == {"embedding"} else None if body is None else body.embedding
    network = of_config(fields, embeds)
    assert network is not None
    return network, body if network.task == "embedding" else None
