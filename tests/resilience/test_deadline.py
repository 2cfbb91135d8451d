import asyncio

import pytest

from smart_support.resilience.deadline import Cut


async def test_cuts_what_takes_too_long() -> None:
    with pytest.raises(TimeoutError), Cut(0.01):
        await asyncio.sleep(60)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # nothing is left that would cancel


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_left_cuts_at_the_first_wait(seconds: float) -> None:
    with pytest.raises(TimeoutError), Cut(seconds):
        await asyncio.sleep(60)


async def test_what_is_quick_enough_is_left_alone() -> None:
    with Cut(60):
        await asyncio.sleep(0)

    with pytest.raises(KeyError), Cut(60):
        raise KeyError("x")


async def test_a_cancellation_from_outside_stays_one() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        with Cut(60):
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_are_a_cancellation() -> None:
    async def work() -> None:
        with Cut(0.01):
            try:
                await asyncio.sleep(60)
            finally:
                task.cancel()  # while the block is being left

    task = asyncio.create_task(work())

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_of_two_cuts_only_its_own_block() -> None:
    with Cut(60):
        with pytest.raises(TimeoutError), Cut(0.01):
            await asyncio.sleep(60)
        await asyncio.sleep(0)


async def test_the_outer_of_two_passes_through_the_inner() -> None:
    inner = list[str]()

    async def work() -> None:
        try:
            with Cut(60):
                await asyncio.sleep(60)
        except TimeoutError:
            inner.append("cut")

    with pytest.raises(TimeoutError), Cut(0.01):
        await work()

    assert inner == []


async def test_goes_with_the_one_of_asyncio() -> None:
    async def inside() -> None:
        async with asyncio.timeout(0.01):
            with Cut(60):
                await asyncio.sleep(60)

    async def outside() -> None:
        with Cut(0.01):
            async with asyncio.timeout(60):
                await asyncio.sleep(60)

    for work in (inside, outside):
        with pytest.raises(TimeoutError):
            await work()


async def test_an_error_while_being_cut_is_that_error() -> None:
    async def work() -> None:
        with Cut(0.01):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise KeyError("cleaning up failed") from None

    with pytest.raises(KeyError):
        await work()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
