"""Where work on models is done: in this process, or in others (``cluster.py``).

Knows neither the work nor the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["Here", "Place", "Work", "in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Any, Item], Result]
"""A function of a module, or a ``partial`` of one, of a place's models and one item."""


class Place(Protocol):
    """Has models, and does work with them."""

    def each(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Yield the number and the result of each item, in the order in which they are done."""


class Here:
    """This process."""

    def __init__(self, models: Any) -> None:
        self._models = models

    def each(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        for number, item in enumerate(items):
            yield number, work(self._models, item)


def in_order(
    place: Place,
    work: Work[Item, Result],
    items: Sequence[Item],
    on_done: Callable[[int, Result], object] | None = None,
) -> list[Result]:
    """Return the results of all items; on_done(number, result) sees each when it is there."""
    found: dict[int, Result] = {}
    for number, result in place.each(work, items):
        found[number] = result
        if on_done is not None:
            on_done(number, result)
    return [found[number] for number in range(len(items))]
