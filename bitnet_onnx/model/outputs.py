"""What ``forward`` takes and returns beside logits: caches, and what the layers computed.

Knows transformers' names of these, and the shape of its cache objects; does not import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..errors import ConfigError
from .decoder import Attend, KeyValue
from .experts import Router

__all__ = ["CausalLMOutput", "Recorded", "past_of", "recording", "returned"]


class CausalLMOutput(NamedTuple):
    """The fields of transformers' ``MoeCausalLMOutputWithPast``; None is what was not asked for.

    ``logits`` is [B, S or logits_to_keep, V] float32.
    """

    loss: Tensor | None
    logits: Tensor
    past_key_values: Any = None
    """Keys and values of each layer, or the cache object that was given, with the new positions."""
    hidden_states: tuple[Tensor, ...] | None = None
    """The input of each layer, then the input of the head: [B, S, H]."""
    attentions: tuple[Tensor, ...] | None = None
    """The softmax weights of each layer: [B, heads, S, T]."""
    router_logits: tuple[Tensor, ...] | None = None
    """The router's logits of each layer with experts: [B * S, E]."""
    aux_loss: Tensor | None = None
    """The balance loss of all routers."""

    @property
    def cache(self) -> Any:
        """The newer name of ``past_key_values`` in transformers."""
        return self.past_key_values


class Recorded(NamedTuple):
    """What modules computed during one pass, layer by layer."""

    attentions: list[Tensor]
    router_logits: list[Tensor]


@contextmanager
def recording(network: nn.Module, attentions: bool, router_logits: bool) -> Iterator[Recorded]:
    """Record in a with block what is asked for; it costs attention its scores a second time."""
    found = Recorded([], [])

    def keep_attention(attend: Any, args: tuple[Any, ...], output: Any) -> None:
        found.attentions.append(attend.shares(args[0], *args[3:5], output[1]))

    def keep_logits(_: Any, args: tuple[Any, ...], output: Tensor) -> None:
        found.router_logits.append(output)

    hooks = []
    for module in network.modules():
        if attentions and isinstance(module, Attend):
            hooks.append(module.register_forward_hook(keep_attention))
        if router_logits and isinstance(module, Router):
            hooks.append(module.register_forward_hook(keep_logits))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def past_of(cache: Any) -> list[KeyValue]:
    """Return keys and values of each layer: of tuples, or of a cache object of transformers.

    Empty without a past. Raises ConfigError for a cache whose layers do not hold all positions.
    """
    if not hasattr(cache, "layers"):
        return list(cache or ())
    for layer in cache.layers:
        if type(layer).__name__ != "DynamicLayer":
            raise ConfigError(
                f"past_key_values has a layer {type(layer).__name__}, expected DynamicLayer, which "
                "keeps every position",
                hint="give a DynamicCache(), or the past_key_values of an earlier result",
            )
    return [(layer.keys, layer.values) for layer in cache.layers if layer.is_initialized]


def returned(given: Any, present: list[KeyValue], past_length: int, wanted: bool) -> Any:
    """Return the cache of a result: a given object with the new positions, or tuples if wanted."""
    if not hasattr(given, "layers"):
        return present if wanted else None
    for layer, (key, value) in enumerate(present):
        given.update(key[:, :, past_length:], value[:, :, past_length:], layer)
    return given
