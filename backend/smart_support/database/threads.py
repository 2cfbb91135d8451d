"""Blocking work beside the event loop that is never left half done."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def run_to_the_end(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread. A cancellation waits until it has ended, and then passes.

    `work` must bound its own waits. What it raises while being cancelled becomes the cause.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from thread.exception()
    return thread.result()
