"""What the shop does: each function is one operation on its state, all or nothing.

Every function that concerns a customer takes `customer_id` and behaves as if the things of other
customers did not exist. All raise `Problem` when they refuse, and then have changed nothing.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from smart_support.demo.problems import conflict, invalid, not_found
from smart_support.demo.records import (
    MINOR_UNITS,
    Address,
    Customer,
    Order,
    OrderStatus,
    Product,
    Refund,
    Return,
    Shipment,
    State,
    Ticket,
    TicketComment,
    money,
)
from smart_support.demo.requests import NewRefund, NewReturn, NewTicket

RETURN_WINDOW = timedelta(days=30)
NOT_YET_SENT = (OrderStatus.PLACED, OrderStatus.PAID, OrderStatus.PACKED)


class Owned(Protocol):
    """Something of a customer."""

    id: str
    customer_id: str


T = TypeVar("T", bound=Owned)


def own(kind: str, things: dict[str, T], identifier: str, customer_id: str) -> T:
    """The thing of this id, if it is this customer's.

    Raises:
        Problem: 404 if there is none, and just the same if it is someone else's.
    """
    thing = things.get(identifier)
    if thing is None or thing.customer_id != customer_id:
        raise not_found(kind, identifier)
    return thing


def newest_first(state: State, things: dict[str, T], customer_id: str) -> list[T]:
    """All things of a customer, the latest first."""
    customer(state, customer_id)
    return [thing for thing in reversed(things.values()) if thing.customer_id == customer_id]


def page(things: list[T], cursor: str | None, limit: int) -> tuple[list[T], str | None]:
    """The `limit` things after `cursor`, and the cursor of the page after them."""
    start = 0
    if cursor is not None:
        start = 1 + next((i for i, thing in enumerate(things) if thing.id == cursor), -1)
        if start == 0:
            raise invalid("invalid_cursor", "This cursor is none that the shop gave out.")
    shown = things[start : start + limit]
    return shown, shown[-1].id if start + limit < len(things) else None


def customer(state: State, customer_id: str) -> Customer:
    """The customer's account."""
    found = state.customers.get(customer_id)
    if found is None:
        raise not_found("customer", customer_id)
    return found


def shipments(state: State, order: Order) -> list[Shipment]:
    """The parcels of an order."""
    return [state.shipments[identifier] for identifier in order.shipment_ids]


def cancel(state: State, order_id: str, customer_id: str, reason: str, now: datetime) -> Order:
    """Cancel an order that has not been packed, and give back what was paid."""
    order = own("order", state.orders, order_id, customer_id)
    if order.status not in (OrderStatus.PLACED, OrderStatus.PAID):
        raise conflict(
            "order_not_cancellable",
            f"Order {order_id} is {order.status} and can no longer be cancelled.",
        )
    if order.refundable.minor_units:
        give_back(state, order, order.refundable.minor_units, reason, now)
    order.status = OrderStatus.CANCELLED
    order.cancelled_at = now
    return order


def change_address(state: State, order_id: str, customer_id: str, address: Address) -> Order:
    """Send an order somewhere else, as long as it has not left."""
    order = own("order", state.orders, order_id, customer_id)
    if order.status not in NOT_YET_SENT:
        raise conflict(
            "address_locked",
            f"Order {order_id} is {order.status}; its address can no longer be changed.",
        )
    order.shipping_address = address
    return order


def refund(
    state: State, order_id: str, customer_id: str, wanted: NewRefund, now: datetime
) -> Refund:
    """Give back part or all of what was paid for an order, never more."""
    order = own("order", state.orders, order_id, customer_id)
    currency = order.paid.currency
    if wanted.currency not in (None, currency):
        raise invalid("currency_mismatch", f"Order {order_id} was paid in {currency}.")
    if not order.paid.minor_units:
        raise conflict("order_not_paid", f"Order {order_id} has not been paid.")
    minor_units = int(wanted.amount * MINOR_UNITS)
    if minor_units > order.refundable.minor_units:
        raise conflict(
            "refund_exceeds_remaining",
            f"At most {order.refundable.display} of order {order_id} can still be refunded.",
        )
    return give_back(state, order, minor_units, wanted.reason, now)


def send_back(state: State, customer_id: str, wanted: NewReturn, now: datetime) -> Return:
    """Announce that goods of a delivered order come back."""
    order = own("order", state.orders, wanted.order_id, customer_id)
    if order.delivered_at is None:
        raise conflict("order_not_delivered", f"Order {order.id} has not been delivered.")
    if now - order.delivered_at > RETURN_WINDOW:
        raise conflict(
            "return_window_closed",
            f"Order {order.id} was delivered more than {RETURN_WINDOW.days} days ago.",
        )
    left = _returnable(state, order)
    for line in wanted.lines:
        left[line.sku] = left.get(line.sku, 0) - line.quantity
        if left[line.sku] < 0:
            raise conflict(
                "not_returnable",
                f"Order {order.id} has fewer than {line.quantity} of {line.sku} left to return.",
            )
    announced = Return(
        id=state.new_id("ret"),
        order_id=order.id,
        customer_id=customer_id,
        status="requested",
        reason=wanted.reason,
        lines=wanted.lines,
        requested_at=now,
    )
    state.returns[announced.id] = announced
    return announced


def withdraw(state: State, return_id: str, customer_id: str) -> None:
    """Forget a return whose goods have not arrived."""
    announced = own("return", state.returns, return_id, customer_id)
    if announced.status != "requested":
        raise conflict("return_received", f"The goods of {return_id} have arrived already.")
    del state.returns[return_id]


def ask(state: State, customer_id: str, wanted: NewTicket, now: datetime) -> Ticket:
    """Open a ticket."""
    customer(state, customer_id)
    if wanted.order_id is not None:
        own("order", state.orders, wanted.order_id, customer_id)
    ticket = Ticket(
        id=state.new_id("tic"),
        customer_id=customer_id,
        subject=wanted.subject,
        status="open",
        order_id=wanted.order_id,
        created_at=now,
        comments=[TicketComment(author="customer", text=wanted.message, at=now)],
    )
    state.tickets[ticket.id] = ticket
    return ticket


def comment(state: State, ticket_id: str, customer_id: str, text: str, now: datetime) -> Ticket:
    """Add the customer's words to a ticket."""
    ticket = own("ticket", state.tickets, ticket_id, customer_id)
    ticket.comments.append(TicketComment(author="customer", text=text, at=now))
    return ticket


def search(
    products: Iterable[Product], words: str | None, category: str | None, in_stock: bool
) -> list[Product]:
    """The products in which every word occurs, of one category if one is given."""
    wanted = (words or "").lower().split()
    return [
        product
        for product in products
        if all(word in _words_of(product) for word in wanted)
        and category in (None, product.category)
        and (product.in_stock or not in_stock)
    ]


def _words_of(product: Product) -> str:
    return f"{product.sku} {product.name} {product.category} {product.description}".lower()


def give_back(state: State, order: Order, minor_units: int, reason: str, now: datetime) -> Refund:
    """Book `minor_units`, which must be at most what is refundable, back to the customer."""
    currency = order.paid.currency
    given = Refund(
        id=state.new_id("rfd"),
        order_id=order.id,
        customer_id=order.customer_id,
        amount=money(minor_units, currency),
        reason=reason,
        status="completed",
        created_at=now,
    )
    state.refunds[given.id] = given
    order.refunded = money(order.refunded.minor_units + minor_units, currency)
    order.refundable = money(order.paid.minor_units - order.refunded.minor_units, currency)
    return given


def _returnable(state: State, order: Order) -> dict[str, int]:
    left: dict[str, int] = {}
    for line in order.lines:
        left[line.sku] = left.get(line.sku, 0) + line.quantity
    for announced in state.returns.values():
        if announced.order_id == order.id:
            for back in announced.lines:
                left[back.sku] -= back.quantity
    return left
