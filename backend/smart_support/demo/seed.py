"""The shop on the day it opens: the same customers and orders every time, dated from `now`.

Order numbers grow with time, so the oldest orders have arrived and the newest are unpaid. The
orders of Ada, who signs in through the demo link, are written down; the rest follows a pattern.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from smart_support.demo.catalog import ARTICLES, PEOPLE
from smart_support.demo.records import (
    Address,
    Customer,
    Order,
    OrderLine,
    OrderStatus,
    Product,
    Return,
    ReturnLine,
    Shipment,
    ShipmentStatus,
    State,
    Ticket,
    TicketComment,
    TrackingEvent,
    money,
)
from smart_support.demo.shop import give_back

FIRST_ORDER = 1001
ORDERS = 64
BETWEEN_ORDERS = timedelta(hours=5)
SHIPPING = 490  # minor units; nothing from FREE_SHIPPING_FROM on
FREE_SHIPPING_FROM = 15000

CARRIERS = (("Swiftwing Parcel", "SW"), ("Nordpost Express", "NP"), ("Blue Kestrel Freight", "BK"))


class Plan(NamedTuple):
    """What an order is to become."""

    customer: str
    status: OrderStatus
    lines: tuple[tuple[str, int], ...]


ADAS_ORDERS = {
    1001: Plan("cus_ada", OrderStatus.SHIPPED, (("TENT-2P", 1), ("LAMP-HEAD", 2))),
    1002: Plan("cus_ada", OrderStatus.DELIVERED, (("BOOT-MID", 1), ("SOCK-WOOL", 3))),
    1014: Plan("cus_ada", OrderStatus.DELIVERED, (("BAG-LITE", 2),)),
    1023: Plan("cus_ada", OrderStatus.CANCELLED, (("PACK-60", 1),)),
    1041: Plan("cus_ada", OrderStatus.SHIPPED, (("JKT-RAIN", 1),)),
    1050: Plan("cus_ada", OrderStatus.PACKED, (("STOVE-GAS", 1), ("POT-SET", 1))),
    1057: Plan("cus_ada", OrderStatus.PAID, (("MAT-AIR", 1), ("HAT-WOOL", 1))),
    1063: Plan("cus_ada", OrderStatus.PLACED, (("BOTTLE-1L", 2),)),
}


def seed(now: datetime) -> State:
    """The whole shop as of `now`, to the second."""
    now = now.replace(microsecond=0)
    state = State(
        opened_at=now,
        customers=_customers(now),
        products=_products(),
        orders={},
        shipments={},
        returns={},
        refunds={},
        tickets={},
        next_number={"ret": 3001, "rfd": 4001, "tic": 2001},
        answers={},
    )
    for number in range(FIRST_ORDER, FIRST_ORDER + ORDERS):
        plan = ADAS_ORDERS.get(number) or _plan(number)
        placed_at = now - (FIRST_ORDER + ORDERS - number) * BETWEEN_ORDERS
        order = _order(state, str(number), plan, placed_at)
        state.orders[order.id] = order
        if order.shipped_at is not None:
            _ship(state, order, order.shipped_at)
        elif order.cancelled_at is not None:
            give_back(state, order, order.paid.minor_units, "Order cancelled", order.cancelled_at)
    _aftermath(state, now)
    return state


def _customers(now: datetime) -> dict[str, Customer]:
    customers = {}
    for position, person in enumerate(PEOPLE):
        customer = Customer(
            id=f"cus_{person.key}",
            name=person.name,
            email=f"{person.key}@example.com",
            since=now - timedelta(days=900 - 61 * position),
            address=Address(
                name=person.name,
                street=person.street,
                city=person.city,
                postal_code=person.postal_code,
                country=person.country,
            ),
            currency=person.currency,
        )
        customers[customer.id] = customer
    return customers


def _products() -> dict[str, Product]:
    return {
        article.sku: Product(
            sku=article.sku,
            name=article.name,
            category=article.category,
            description=article.description,
            price=money(article.price, "EUR"),
            in_stock=article.in_stock,
        )
        for article in ARTICLES
    }


def _plan(number: int) -> Plan:
    """Spread customers and products evenly; let the status follow from the order's age."""
    person = PEOPLE[1 + number * 5 % (len(PEOPLE) - 1)]
    lines = tuple(
        (ARTICLES[(number * 7 + line * 5) % len(ARTICLES)].sku, 1 + (number + line) % 2)
        for line in range(1 + number % 3)
    )
    if number % 13 == 0:
        status = OrderStatus.CANCELLED
    elif number < 1034:
        status = OrderStatus.DELIVERED
    elif number < 1046:
        status = OrderStatus.SHIPPED
    elif number < 1053:
        status = OrderStatus.PACKED
    elif number < 1060:
        status = OrderStatus.PAID
    else:
        status = OrderStatus.PLACED
    return Plan(f"cus_{person.key}", status, lines)


def _order(state: State, number: str, plan: Plan, placed_at: datetime) -> Order:
    customer = state.customers[plan.customer]
    currency = customer.currency
    lines = []
    for sku, quantity in plan.lines:
        product = state.products[sku]
        price = product.price.minor_units
        lines.append(
            OrderLine(
                sku=sku,
                name=product.name,
                quantity=quantity,
                unit_price=money(price, currency),
                total=money(price * quantity, currency),
            )
        )
    goods = sum(line.total.minor_units for line in lines)
    shipping = 0 if goods >= FREE_SHIPPING_FROM else SHIPPING
    is_paid = plan.status is not OrderStatus.PLACED
    paid = money(goods + shipping if is_paid else 0, currency)
    is_sent = plan.status in (OrderStatus.SHIPPED, OrderStatus.DELIVERED)
    is_delivered = plan.status is OrderStatus.DELIVERED
    is_cancelled = plan.status is OrderStatus.CANCELLED
    return Order(
        id=number,
        customer_id=customer.id,
        status=plan.status,
        placed_at=placed_at,
        paid_at=placed_at + timedelta(minutes=12) if is_paid else None,
        shipped_at=placed_at + timedelta(hours=30) if is_sent else None,
        delivered_at=placed_at + timedelta(hours=102) if is_delivered else None,
        cancelled_at=placed_at + timedelta(hours=3) if is_cancelled else None,
        lines=lines,
        shipping=money(shipping, currency),
        total=money(goods + shipping, currency),
        paid=paid,
        refunded=money(0, currency),
        refundable=paid,
        shipping_address=customer.address.model_copy(),
        shipment_ids=[],
    )


def _ship(state: State, order: Order, shipped_at: datetime) -> None:
    carrier, prefix = CARRIERS[int(order.id) % len(CARRIERS)]
    home = order.shipping_address
    events = [
        TrackingEvent(at=shipped_at, place="Flensburg", description="Handed to the carrier"),
        TrackingEvent(
            at=shipped_at + timedelta(hours=9), place="Hamburg", description="Sorted at the hub"
        ),
    ]
    status = ShipmentStatus.IN_TRANSIT
    expected = shipped_at + timedelta(hours=72)
    if order.delivered_at is not None:
        status = ShipmentStatus.DELIVERED
        events.append(
            TrackingEvent(at=order.delivered_at, place=home.city, description="Delivered")
        )
    elif order.id == "1001":  # the one that customers ask about
        status = ShipmentStatus.DELAYED
        expected = state.opened_at + timedelta(days=2)
        events.append(
            TrackingEvent(
                at=shipped_at + timedelta(hours=40),
                place="Neumünster",
                description="Delayed: the depot was closed by a storm; leaves with the next tour",
            )
        )
    shipment = Shipment(
        id=f"shp_{order.id}",
        order_id=order.id,
        customer_id=order.customer_id,
        carrier=carrier,
        tracking_number=f"{prefix}{int(order.id):06d}{home.country}",
        status=status,
        estimated_delivery=expected,
        events=events,
    )
    state.shipments[shipment.id] = shipment
    order.shipment_ids.append(shipment.id)


def _aftermath(state: State, now: datetime) -> None:
    """What followed on delivered orders: returns, partial refunds and questions."""
    delivered = [order for order in state.orders.values() if order.delivered_at is not None]
    ada = state.orders["1014"]
    others = [order for order in delivered if order.customer_id != ada.customer_id][::6]
    for position, order in enumerate([ada, *others]):
        line = order.lines[0]
        requested_at = (order.delivered_at or now) + timedelta(hours=20)
        back = Return(
            id=state.new_id("ret"),
            order_id=order.id,
            customer_id=order.customer_id,
            status="received" if position % 2 == 0 else "requested",
            reason=("Too warm for summer", "Wrong size", "Not as pictured")[position % 3],
            lines=[ReturnLine(sku=line.sku, quantity=1)],
            requested_at=requested_at,
        )
        state.returns[back.id] = back
        if back.status == "received":
            give_back(state, order, line.unit_price.minor_units, f"Return {back.id}", requested_at)
    _ask(state, state.orders["1001"], "My tent is late", "It should have been here last week.", now)
    for order, subject, text in zip(
        delivered[3::9],
        ("Invoice with company name", "Zip is stuck", "Thank you"),
        ("Can I have the invoice on my company?", "The zip of it jams.", "It fits well, thanks!"),
        strict=False,
    ):
        _ask(state, order, subject, text, now)


def _ask(state: State, order: Order, subject: str, text: str, now: datetime) -> None:
    asked_at = now - timedelta(hours=26)
    ticket = Ticket(
        id=state.new_id("tic"),
        customer_id=order.customer_id,
        subject=subject,
        status="open",
        order_id=order.id,
        created_at=asked_at,
        comments=[
            TicketComment(author="customer", text=text, at=asked_at),
            TicketComment(
                author="staff",
                text="Thank you for writing. We are looking into it.",
                at=asked_at + timedelta(hours=2),
            ),
        ],
    )
    state.tickets[ticket.id] = ticket
