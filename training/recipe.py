"""The recipe of the bundled model as it ran: sizes, stages and learning rates.

Knows numbers only. The stages are a log of one run: as it showed what a model of this size learns
in an hour, the ranges of the questions were narrowed and the shares of the kinds changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitnet_onnx.network.config import BitNetConfig
from training import tokenizer as tok

MODEL = BitNetConfig(
    vocab_size=tok.VOCAB_SIZE,
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=5,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=512,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    bos_token_id=tok.BOS_ID,
    eos_token_id=(tok.END_OF_TEXT_ID, tok.EOT_ID),
    pad_token_id=tok.PAD_ID,
    quantization="online",
    divide_by_scale=False,
)


@dataclass(frozen=True)
class Stage:
    """From step ``start`` on: the share of each kind of question, and how rows are filled."""

    start: int
    shares: dict[str, float]
    reach: int
    """The width of the questions' ranges: see ``data.training``."""
    patience: int
    """The number of turns too long for the rest of a row that may be skipped in it."""
    new_chat: float
    """The probability that a turn begins a new chat, which does not see the turns before it."""


EARLY = {
    "arithmetic": 2.5,
    "numbers": 1.2,
    "stories": 1.7,
    "words": 1.0,
    "dates": 1.0,
    "units": 0.5,
}
LATE = {
    "arithmetic": 2.5,
    "numbers": 1.0,
    "stories": 1.6,
    "words": 1.3,
    "dates": 1.6,
    "units": 0.5,
}
FINAL = {
    "arithmetic": 2.5,
    "numbers": 1.0,
    "stories": 1.6,
    "words": 1.0,
    "dates": 1.2,
    "units": 0.5,
}
BINDING = {
    "arithmetic": 2.0,
    "numbers": 0.8,
    "stories": 3.5,
    "words": 0.5,
    "dates": 0.7,
    "units": 0.3,
}
LAST = {
    "arithmetic": 2.6,
    "numbers": 1.6,
    "stories": 0.9,
    "words": 1.2,
    "dates": 0.8,
    "units": 0.4,
}
POLISH = {
    "arithmetic": 2.5,
    "numbers": 3.0,
    "stories": 0.7,
    "words": 0.7,
    "dates": 0.4,
    "units": 0.4,
}
STAGES = (
    Stage(0, EARLY, reach=3, patience=4, new_chat=1.0),
    Stage(481, LATE, reach=2, patience=4, new_chat=1.0),
    Stage(946, FINAL, reach=1, patience=4, new_chat=1.0),
    Stage(1500, FINAL, reach=1, patience=4, new_chat=0.5),
    Stage(1537, BINDING, reach=1, patience=4, new_chat=1.0),
    Stage(1920, LAST, reach=0, patience=4, new_chat=0.7),
    Stage(2350, POLISH, reach=0, patience=4, new_chat=0.7),
)


@dataclass(frozen=True)
class Recipe:
    """One training run."""

    model: BitNetConfig = MODEL
    start_from_bundled: bool = False
    """Whether the weights are those of the bundled model: see ``upcycle.py``."""
    imitate: int = 0
    """The number of first steps in which each part imitates the bundled model's."""
    teach: int = 0
    """The step until which half of the loss is from the bundled model's distributions."""
    processes: int = 2
    rows: int = 12  # in each process
    length: int = 128
    muon_rate: float = 0.0015
    attention_rate: float | None = None  # None: as the other matrices
    table_rate: float = 0.01
    norm_rate: float = 0.003
    # (step, factor of the learning rates); the last step ends the run
    rates: tuple[tuple[int, float], ...] = (
        (-1, 0.0),
        (99, 1.0),
        (1050, 1.0),
        (1537, 0.53619),
        (1800, 0.53619),
        (2350, 0.0),
        (2360, 0.3),
        (2610, 0.16111),
        (2740, 0.0),
    )
    seed: int = 0
    stages: tuple[Stage, ...] = STAGES

    def stage(self, step: int) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.start <= step)

    def rate(self, step: int) -> float:
        """Return the factor of all learning rates, linear between the points."""
        (x0, y0), (x1, y1) = next(
            pair for pair in zip(self.rates, self.rates[1:], strict=False) if step < pair[1][0]
        )
        return y0 + (y1 - y0) * (step - x0) / (x1 - x0)
