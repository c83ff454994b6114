"""What a client is waited for: seconds in which the process runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from bitnet_onnx.serve.patience import within


async def after(seconds: float, ended: list[str]) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise
    return "done"


def test_work_that_ends_in_time_gives_its_result_or_its_error() -> None:
    async def failing() -> None:
        raise KeyError("a")

    assert asyncio.run(within(60, after(0, []))) == "done"
    with pytest.raises(KeyError):
        asyncio.run(within(60, failing()))


def test_work_that_takes_longer_is_cancelled() -> None:
    ended: list[str] = []
    with pytest.raises(TimeoutError):
        asyncio.run(within(0.03, after(60, ended)))
    assert ended == ["cancelled"]


def test_who_waits_can_be_cancelled() -> None:
    ended: list[str] = []

    async def main() -> None:
        waiting = asyncio.ensure_future(within(60, after(60, ended)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert ended == ["cancelled"]


@pytest.mark.parametrize("pauses", [1, 3])
def test_the_time_in_which_the_process_stands_still_is_not_counted(pauses: int) -> None:
    """What came meanwhile is found, whichever of the two the loop sees first."""

    async def main() -> str:
        came = asyncio.Event()

        async def work() -> str:
            await came.wait()
            return "done"

        async def stop() -> None:
            for _ in range(pauses):
                await asyncio.sleep(0.01)
                time.sleep(0.3)
            came.set()

        stopping = asyncio.ensure_future(stop())
        found = await within(0.25, work())
        await stopping
        return found

    assert asyncio.run(main()) == "done"
