"""The hidden states of a step, where the artifact's graph gives them, and the head that reads them.

Knows the names of these outputs and ONNX Runtime's sessions; does not know the cache or ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..artifact import OUTPUTS, Artifact
from ..errors import ArtifactError, GenerationError, SessionError
from ..files import read_object
from .integers import integers

__all__ = ["HiddenStates", "Layers", "state_names"]


@dataclass(frozen=True)
class Layers:
    """The layers whose hidden states a session gives."""

    count: int
    """There is one hidden state more: the input of each layer, and that of the head."""
    tied: bool
    """Whether the head's table is the embedding, the config's tie_word_embeddings."""

    @classmethod
    def of(cls, artifact: Artifact) -> Layers | None:
        """Return the layers of an artifact that gives hidden states, and None for others."""
        if artifact.outputs == OUTPUTS[0]:
            return None
        config = read_object(artifact.config_path, ArtifactError)
        return cls(artifact.num_hidden_layers, config.get("tie_word_embeddings") is True)


def state_names(artifact: Artifact) -> list[str]:
    """Return the names of the hidden states among the graph's outputs."""
    count = 0 if artifact.outputs == OUTPUTS[0] else artifact.num_hidden_layers + 1
    return [f"hidden_states.{number}" for number in range(count)]


class HiddenStates:
    """The hidden states of the last step."""

    def __init__(
        self, artifact: Artifact, runtime: Any, open_head: Callable[[], Any] | None
    ) -> None:
        """open_head: opens the head in ONNX Runtime, once its logits are asked for."""
        self.names, self._open_head = state_names(artifact), open_head
        shapes = {port.name: port.shape for port in runtime.get_outputs()}
        self._width = int(shapes[self.names[0]][-1]) if self.names else 0
        self.head: Any = None
        self.last: np.ndarray | None = None

    def room(self, rows: int, positions: int) -> np.ndarray:
        """Return room for the states of a step: float32 [states, rows, positions, width]."""
        return np.empty((len(self.names), rows, positions, self._width), dtype=np.float32)

    @property
    def kept(self) -> np.ndarray:
        """Those of the last step; of no state where the graph gives none."""
        assert self.last is not None
        return self.last

    def of_step(self) -> np.ndarray:
        """Return those of the last step; raise GenerationError where there are none."""
        if not self.names:
            raise GenerationError(
                "the artifact gives no hidden states, expected one that was exported with them",
                hint="make one: bitnet-onnx export CHECKPOINT -o ARTIFACT --outputs hidden-states",
            )
        if self.last is None:
            raise GenerationError("no step was computed, expected one before its hidden states")
        return self.last

    def early_logits(self, layers: Sequence[int]) -> np.ndarray:
        """Return the head's logits [len(layers), rows, V] of the last position's states."""
        states, chosen = self.of_step(), integers("layer", layers)
        if outside := [layer for layer in chosen if not 0 <= layer < len(states)]:
            raise GenerationError(f"layer is {outside[0]}, expected 0 to {len(states) - 1}")
        if self.head is None:
            assert self._open_head is not None, "the session was opened without its head"
            self.head = self._open_head()
        fed = np.ascontiguousarray(states[chosen, :, -1])
        try:
            found: np.ndarray
            (found,) = self.head.run(["logits"], {self.names[-1]: fed})
        except Exception as error:  # ONNX Runtime raises its own types, not exported by name
            raise SessionError(f"ONNX Runtime failed in the head: {error}") from error
        return found
