"""Seconds that a client is waited for.

Knows asyncio; does not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")
TICKS = 30  # parts of the seconds


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Return what the work returns; cancel it and raise TimeoutError where that takes too long.

    The seconds are those in which this process runs: where the system stops it, as a debugger or a
    paused machine does, what came meanwhile is still read. So they are counted in parts, and a part
    in which the process stood still counts as one.
    """
    task = asyncio.ensure_future(work)
    try:
        for _ in range(TICKS):
            done, _ = await asyncio.wait((task,), timeout=seconds / TICKS)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
