"""Which way a call chooses its ids one after another: plainly, with drafts, or by hidden states.

Knows the strategies and what they need; does not know text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import GenerationError
from ...runtime.hidden import Layers
from ..config import GenerationConfig
from ..extras import Extras
from ..leases import LeaseLike, SessionLike
from ..rows import Row
from . import single, speculation
from .contrastive import Contrast, contrast
from .dola import Dola, dola

__all__ = ["Way", "check_layers", "way"]


@dataclass(frozen=True)
class Way:
    """At most one of the strategies."""

    drafts: speculation.Speculation | None = None
    contrast: Contrast | None = None
    dola: Dola | None = None

    def begin(self, lease: LeaseLike, rows: Sequence[Row], context: int) -> Steps:
        """Return the steps of rows whose prompts are computed anew."""
        if self.contrast is not None:
            return self.contrast.steps(lease, rows, context)
        return self._steps(lease, single.start(lease, list(rows)), rows[0], context)

    def go_on(self, lease: LeaseLike, row: Row, context: int) -> Steps:
        """Return the steps of a row that keeps what the session's cache shares with its prompt."""
        if self.contrast is not None:
            return self.contrast.steps(lease, [row], context)
        return self._steps(lease, single.reuse(lease, row), row, context)

    def _steps(
        self, lease: LeaseLike, sequences: list[single.SessionRow], row: Row, context: int
    ) -> Steps:
        if self.drafts is not None:
            return speculation.steps(lease, row, context, self.drafts)
        return single.steps(lease, sequences, context, self.dola)


Steps = Iterator[tuple[Row, int]]


def way(
    session: SessionLike, rows: Sequence[Row], config: GenerationConfig, extras: Extras | None
) -> Way:
    """Return the way that the options ask for; raise GenerationError where it cannot be gone."""
    if not config.reads_layers:
        return Way(speculation.speculation(session, rows, config, extras))
    if extras is not None and extras.assistant_model is not None:
        raise GenerationError(
            f"assistant_model is given with {_asked(config)}, expected one of them: drafts are"
            " checked in greedy decoding and sampling"
        )
    check_layers(session.layers, config)
    return Way(contrast=contrast(session, rows, config), dola=dola(session, config))


def check_layers(layers: Layers | None, config: GenerationConfig) -> None:
    """Raise GenerationError where the options need hidden states that a session does not give."""
    if layers is None and config.reads_layers:
        raise GenerationError(
            f"the options ask for {_asked(config)}, but the artifact gives no hidden states,"
            " expected one that was exported with them",
            hint="make one: bitnet-onnx export CHECKPOINT -o ARTIFACT --outputs hidden-states;"
            " where generation_config.json asks for them, give --ignore-generation-config",
        )


def _asked(config: GenerationConfig) -> str:
    option = "penalty_alpha" if config.contrasts else "dola_layers"
    return f"{option} {getattr(config, option)!r}"
