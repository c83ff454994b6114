"""What every comparison of an artifact with its reference can say of itself.

Knows the differences that were found; does not know how.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

__all__ = ["Compared"]

INPUTS_CLOSE = 1e-5


class Compared:
    """The base of a comparison's dataclass, which has these two and more."""

    input_differences: dict[str, float]

    @property
    def agrees(self) -> bool:
        """Whether the artifact computes the same network, with ties resolved the same way."""
        raise NotImplementedError

    @property
    def first_difference(self) -> str | None:
        """The first BitLinear, in the order of the network, whose input differs."""
        inputs = self.input_differences.items()
        return next((name for name, found in inputs if not found <= INPUTS_CLOSE), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the JSON report."""
        fields = asdict(self)  # type: ignore[call-overload]
        return {**fields, "agrees": self.agrees, "first_difference": self.first_difference}
