"""The options of a watermark, with transformers' names.

Knows numbers; the tokens that a watermark prefers are in ``processors/greenlist.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .checks import integer, number, wrong

__all__ = ["SCHEMES", "WatermarkingConfig", "watermarking"]

SCHEMES = ("lefthash", "selfhash")
NAME = "watermarking_config"


@dataclass(frozen=True)
class WatermarkingConfig:
    """A watermark (Kirchenbauer et al.): some tokens, which depend on those before, get a bias.

    Names, defaults and meanings are those of transformers' WatermarkingConfig.
    """

    greenlist_ratio: float = 0.25
    """Which share of the vocabulary is preferred at a step."""
    bias: float = 2.0
    """What is added to the logits of preferred tokens."""
    hashing_key: int = 15485863
    """The secret: whoever detects the watermark needs it."""
    seeding_scheme: str = "lefthash"
    """"lefthash": the token before decides; "selfhash": the candidate and those before it."""
    context_width: int = 1
    """How many tokens decide."""

    def __post_init__(self) -> None:
        if self.seeding_scheme not in SCHEMES:
            raise wrong(f"{NAME}.seeding_scheme", self.seeding_scheme, " or ".join(SCHEMES))
        expected, set_field = "a number above 0 and below 1", object.__setattr__
        ratio = number(
            f"{NAME}.greenlist_ratio", self.greenlist_ratio, expected, lambda r: 0 < r < 1
        )
        set_field(self, "greenlist_ratio", ratio)
        set_field(self, "bias", number(f"{NAME}.bias", self.bias, "a finite number"))
        set_field(self, "hashing_key", integer(f"{NAME}.hashing_key", self.hashing_key, 0))
        set_field(self, "context_width", integer(f"{NAME}.context_width", self.context_width, 1))
        if self.hashing_key >= 1 << 63:
            raise wrong(f"{NAME}.hashing_key", self.hashing_key, "an integer below 2**63")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names."""
        return asdict(self)


def watermarking(value: Any) -> WatermarkingConfig | None:
    """Return the options of a watermark from a mapping, or as they are."""
    if value is None or isinstance(value, WatermarkingConfig):
        return value
    if not isinstance(value, Mapping):
        raise wrong(NAME, value, "a WatermarkingConfig or a mapping of its fields")
    names = [field.name for field in fields(WatermarkingConfig)]
    for name in value:
        if name not in names:  # those of SynthID among them
            raise wrong(f"{NAME}.{name}", value[name], f"only the fields {', '.join(names)}")
    return WatermarkingConfig(**value)
