"""Races for the same money, and a shop that closes in the middle of its work."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.demo.support import Clock, OpenShop, running_shop
from tests.demo.test_orders import problem

PAID = 22600  # minor units of order 1002


def booked(shop: OpenShop, order: str = "1002") -> list[int]:
    refunds = shop.company.store.state.refunds.values()
    return [one.amount.minor_units for one in refunds if one.order_id == order]


class TestRaces:
    @pytest.mark.parametrize(
        "amounts",
        [[113.0] * 5, [226.0] * 4, [100, 100, 26, 0.01, 26], [0.01] * 10, [200, 30, 26, 20, 6]],
        ids=["halves", "all of it", "exactly", "cents", "what fits"],
    )
    @pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without"])
    async def test_never_give_back_more_than_was_paid(
        self, tmp_path: Path, amounts: list[float], keyed: bool
    ) -> None:
        async with running_shop(tmp_path) as shop:
            answers = await asyncio.gather(
                *(
                    shop.refund(amount, key=f"key-{position}" if keyed else None)
                    for position, amount in enumerate(amounts)
                )
            )

            order = shop.company.store.state.orders["1002"]
            given = [a.json()["amount"]["minor_units"] for a in answers if a.status_code == 201]
            assert {answer.status_code for answer in answers} <= {201, 409}
            assert sorted(given) == sorted(booked(shop))
            assert order.refunded.minor_units == sum(given) <= PAID
            assert order.refundable.minor_units == PAID - sum(given)
            # Nothing was refused that would still have fitted at the end.
            for answer, amount in zip(answers, amounts, strict=True):
                if answer.status_code == 409:
                    assert problem(answer) == (409, "refund_exceeds_remaining")
                    assert round(amount * 100) > order.refundable.minor_units

    async def test_of_a_cancellation_and_a_refund_pay_once(self, tmp_path: Path) -> None:
        async with running_shop(tmp_path) as shop:
            paid = shop.company.store.state.orders["1057"].paid.minor_units

            refund, cancelled = await asyncio.gather(
                shop.refund(20, order="1057"), shop.post("/orders/1057/cancel", {})
            )

            assert cancelled.status_code == 200
            assert refund.status_code in (201, 409)
            assert sum(booked(shop, "1057")) == paid
            assert shop.company.store.state.orders["1057"].refundable.minor_units == 0


class TestRestart:
    async def test_in_the_middle_of_a_series_goes_on_where_it_was(self, tmp_path: Path) -> None:
        clock = Clock()
        answers = []
        for part in range(3):
            async with running_shop(tmp_path, clock) as shop:
                answers += [await shop.refund(10, key=f"key-{part}-{n}") for n in range(2)]
                assert booked(shop) == [1000] * len(answers)

        numbers = [answer.json()["id"] for answer in answers]
        assert len(set(numbers)) == 6
        assert numbers == sorted(numbers)

    async def test_after_a_lost_answer_the_same_key_tells_what_happened(
        self, tmp_path: Path
    ) -> None:
        clock = Clock()
        async with running_shop(tmp_path, clock) as shop:
            await shop.fault("status_after", operation="createRefund", status=500)
            lost = await shop.refund(10, key="key-1")
        async with running_shop(tmp_path, clock) as shop:
            again = await shop.refund(10, key="key-1")
            other = await shop.refund(11, key="key-1")
            assert booked(shop) == [1000]

        assert lost.status_code == 500
        assert again.headers["idempotent-replayed"] == "true"
        assert problem(other) == (422, "key_reused")

    async def test_before_anything_was_done_leaves_nothing_behind(self, tmp_path: Path) -> None:
        clock = Clock()
        async with running_shop(tmp_path, clock) as shop:
            await shop.fault("status", operation="createRefund")
            await shop.refund(10, key="key-1")
        async with running_shop(tmp_path, clock) as shop:
            first = await shop.refund(10, key="key-1")
            assert booked(shop) == [1000]

        assert first.status_code == 201
        assert "idempotent-replayed" not in first.headers

    async def test_forgets_what_it_was_told_to_do_wrong_and_whom_it_met(
        self, tmp_path: Path
    ) -> None:
        async with running_shop(tmp_path) as shop:
            await shop.fault("status", times=9)
            await shop.http.get("/products")
        async with running_shop(tmp_path) as shop:
            assert (await shop.http.get("/_faults")).json() == []
            assert (await shop.http.get("/_calls")).json() == []

    async def test_keeps_the_day_of_opening_and_what_time_has_done(self, tmp_path: Path) -> None:
        clock = Clock()
        async with running_shop(tmp_path, clock) as shop:
            before = shop.company.store.state.model_copy(deep=True)
        clock.pass_by(timedelta(days=400))
        async with running_shop(tmp_path, clock) as shop:
            assert shop.company.store.state == before
            health = (await shop.http.get("/_health")).json()
            assert health["opened_at"] == "2026-03-01T09:00:00Z"

    async def test_a_key_of_yesterday_is_free_after_it(self, tmp_path: Path) -> None:
        clock = Clock()
        async with running_shop(tmp_path, clock) as shop:
            await shop.refund(10, key="key-1")
        clock.pass_by(timedelta(hours=24))
        async with running_shop(tmp_path, clock) as shop:
            second = await shop.refund(10, key="key-1")
            assert booked(shop) == [1000, 1000]

        assert "idempotent-replayed" not in second.headers
