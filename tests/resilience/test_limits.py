"""Budget, quota and bulkhead: how much one API is asked."""

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.resilience.budget import RetryBudget
from smart_support.resilience.bulkhead import Bulkhead, BulkheadFull
from smart_support.resilience.quota import Quota, QuotaGate, parse_quotas


class TestTheBudget:
    def test_begins_with_its_burst(self) -> None:
        budget = RetryBudget()

        assert [budget.take(0.0) for _ in range(11)] == [True] * 10 + [False]

    def test_earns_a_retry_by_ten_calls(self) -> None:
        budget = RetryBudget()
        while budget.take(0.0):
            pass

        for _ in range(9):
            budget.called()
        assert not budget.take(0.0)
        budget.called()

        assert budget.take(0.0)
        assert not budget.take(0.0)

    def test_saves_no_more_than_its_burst(self) -> None:
        budget = RetryBudget()
        for _ in range(10_000):
            budget.called()

        assert sum(budget.take(0.0) for _ in range(100)) == 10

    def test_where_there_are_few_calls_one_retry_in_ten_seconds_is_free(self) -> None:
        budget = RetryBudget(burst=0)

        assert budget.take(100.0)
        assert not budget.take(109.9)
        assert budget.take(110.0)

    @given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 4)), max_size=300))
    def test_keeps_to_a_tenth_of_the_calls_the_burst_and_the_floor(
        self, calls: list[tuple[float, int]]
    ) -> None:
        budget, now, granted = RetryBudget(), 0.0, 0

        for passed, wanted in calls:
            now += passed
            budget.called()
            granted += sum(budget.take(now) for _ in range(wanted))

        assert granted <= 0.1 * len(calls) + 10 + now / 10 + 1


class TestQuotas:
    def test_are_read_by_origin(self) -> None:
        found = parse_quotas("https://API.example.com=10/second, http://127.0.0.1:9/ = 300/minute,")

        assert found == {
            "https://api.example.com": Quota(10, 1.0),
            "http://127.0.0.1:9": Quota(300, 60.0),
        }

    @pytest.mark.parametrize(
        "text", ["10/second", "https://x=10", "https://x=0/second", "https://x=1/day", "x=1/second"]
    )
    def test_another_form_is_named(self, text: str) -> None:
        with pytest.raises(ValueError, match="no quota"):
            parse_quotas(text)

    @given(
        calls=st.integers(1, 5),
        steps=st.lists(st.floats(0, 0.5), max_size=100),
    )
    def test_no_window_ever_has_more_than_the_quota(self, calls: int, steps: list[float]) -> None:
        gate, now, begun = QuotaGate(Quota(calls, 1.0)), 0.0, deque[float]()

        for passed in steps:
            now += passed
            wait = gate.reserve(now, float("inf"))
            assert wait is not None
            begun.append(now + wait)

        for number in range(len(begun) - calls):
            assert begun[number + calls] - begun[number] >= 1.0 - 1e-9

    def test_a_turn_after_the_deadline_is_not_taken(self) -> None:
        gate = QuotaGate(Quota(1, 10.0))
        assert gate.reserve(0.0, 5.0) == 0.0

        assert gate.reserve(1.0, 5.0) is None
        assert gate.next_in(1.0) == 9.0
        assert gate.reserve(1.0, 10.0) == 9.0


class TestTheBulkhead:
    async def test_gives_places_in_the_order_in_which_they_were_asked_for(self) -> None:
        bulkhead, order = Bulkhead(1), list[int]()
        assert bulkhead.take()

        async def work(number: int) -> None:
            await bulkhead.wait()
            order.append(number)
            bulkhead.give_back()

        tasks = [asyncio.create_task(work(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert not bulkhead.take()
        bulkhead.give_back()
        await asyncio.gather(*tasks)

        assert order == [0, 1, 2, 3, 4]
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)

    async def test_too_many_waiting_are_refused(self) -> None:
        bulkhead = Bulkhead(1, most_waiting=0)
        assert bulkhead.take()

        with pytest.raises(BulkheadFull):
            await bulkhead.wait()

    @given(st.lists(st.sampled_from(["take", "wait", "cancel", "back", "both"]), max_size=60))
    async def test_no_place_is_lost_or_given_twice(self, steps: list[str]) -> None:
        bulkhead, held, waiting = Bulkhead(2), 0, list[asyncio.Task[None]]()

        async def settle() -> None:
            nonlocal held
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in list(waiting):
                if task.done():
                    waiting.remove(task)
                    held += not task.cancelled()

        for step in steps:
            if step == "take":
                held += bulkhead.take()
            elif step == "wait":
                waiting.append(asyncio.ensure_future(bulkhead.wait()))
            elif step == "cancel" and waiting:
                waiting[0].cancel()
            elif step == "back" and held:
                held -= 1
                bulkhead.give_back()
            elif step == "both" and held and waiting:
                await settle()
                if held and waiting:
                    held -= 1
                    bulkhead.give_back()  # in the same moment as
                    waiting[0].cancel()
            await settle()
            assert held == bulkhead.running <= 2
            assert not waiting or held == 2
        for task in waiting:
            task.cancel()
        await settle()
        assert bulkhead.running == held
