from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from smart_support.demo.records import OrderStatus, State
from smart_support.demo.seed import seed

NOW = datetime(2026, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def state() -> State:
    return seed(NOW)


def test_is_the_same_shop_every_time(state: State) -> None:
    assert seed(NOW) == state


def test_moves_with_the_day_of_opening(state: State) -> None:
    later = seed(NOW + timedelta(days=10))

    for number, order in state.orders.items():
        assert later.orders[number].placed_at - order.placed_at == timedelta(days=10)


def test_is_large_enough_to_be_believed(state: State) -> None:
    by_status = Counter(order.status for order in state.orders.values())

    assert len(state.customers) >= 12
    assert len(state.orders) >= 60
    assert set(by_status) == set(OrderStatus)
    assert min(by_status.values()) >= 3
    assert {order.customer_id for order in state.orders.values()} == set(state.customers)


def test_ada_has_what_the_tour_needs(state: State) -> None:
    late, refundable = state.orders["1001"], state.orders["1002"]

    assert state.customers["cus_ada"].email == "ada@example.com"
    assert {late.customer_id, refundable.customer_id} == {"cus_ada"}
    assert late.status is OrderStatus.SHIPPED
    assert refundable.status is OrderStatus.DELIVERED
    assert refundable.refundable == refundable.total
    assert state.shipments["shp_1001"].status == "delayed"
    adas = {order.status for order in state.orders.values() if order.customer_id == "cus_ada"}
    assert adas == set(OrderStatus)


def test_money_adds_up(state: State) -> None:
    for order in state.orders.values():
        lines = sum(line.unit_price.minor_units * line.quantity for line in order.lines)
        refunds = [one for one in state.refunds.values() if one.order_id == order.id]
        assert order.total.minor_units == lines + order.shipping.minor_units
        assert order.refunded.minor_units == sum(one.amount.minor_units for one in refunds)
        assert order.refundable.minor_units == order.paid.minor_units - order.refunded.minor_units
        assert order.refundable.minor_units >= 0
        assert order.paid.minor_units == (order.paid_at is not None) * order.total.minor_units
        amounts = (order.total, order.shipping, order.paid, order.refunded, order.refundable)
        assert {one.currency for one in amounts} == {state.customers[order.customer_id].currency}


def test_dates_fit_the_status_and_lie_in_the_past(state: State) -> None:
    for order in state.orders.values():
        dates = (order.placed_at, order.paid_at, order.shipped_at, order.delivered_at)
        happened = [date for date in dates if date is not None]
        assert happened == sorted(happened)
        assert max(*happened, order.cancelled_at or order.placed_at) <= NOW
        assert (order.shipped_at is not None) == (order.status in ("shipped", "delivered"))
        assert (order.delivered_at is not None) == (order.status == "delivered")
        assert (order.cancelled_at is not None) == (order.status == "cancelled")
        assert (order.paid_at is None) == (order.status == "placed")


def test_parcels_tell_the_story_of_their_order(state: State) -> None:
    for shipment in state.shipments.values():
        order = state.orders[shipment.order_id]
        times = [event.at for event in shipment.events]
        assert order.shipment_ids == [shipment.id]
        assert shipment.customer_id == order.customer_id
        assert times == sorted(times)
        assert times[-1] <= NOW
        assert (shipment.status == "delivered") == (order.status == "delivered")


def test_order_numbers_grow_with_time(state: State) -> None:
    placed = [order.placed_at for order in state.orders.values()]

    assert list(state.orders) == sorted(state.orders)
    assert placed == sorted(placed)


def test_what_came_back_was_bought(state: State) -> None:
    assert {one.status for one in state.returns.values()} == {"requested", "received"}
    for back in state.returns.values():
        order = state.orders[back.order_id]
        bought = {line.sku: line.quantity for line in order.lines}
        assert order.customer_id == back.customer_id
        assert all(line.quantity <= bought[line.sku] for line in back.lines)
        assert order.delivered_at is not None
        assert order.delivered_at <= back.requested_at <= NOW


def test_new_ids_continue_after_the_seed(state: State) -> None:
    copy = state.model_copy(deep=True)

    for prefix, things in (("ret", state.returns), ("rfd", state.refunds), ("tic", state.tickets)):
        new = copy.new_id(prefix)
        assert new not in things
        assert copy.new_id(prefix) != new
