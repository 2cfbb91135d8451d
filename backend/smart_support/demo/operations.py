"""The shop's API: one function per operation."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from smart_support.demo import shop
from smart_support.demo.company import Company
from smart_support.demo.document import problems
from smart_support.demo.records import (
    Address,
    Customer,
    Order,
    OrderId,
    OrderStatus,
    Product,
    Record,
    Refund,
    Return,
    Shipment,
    Ticket,
)
from smart_support.demo.requests import (
    NewRefund,
    NewReturn,
    NewTicket,
    NewTicketComment,
    OrderCancellation,
)
from smart_support.demo.route import LONGEST_KEY, CompanyRoute


def the_company(request: Request) -> Company:
    """The shop this request came to."""
    company: Company = request.app.state.company
    return company


async def idempotency_key(
    _: Annotated[
        str | SkipJsonSchema[None],
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=LONGEST_KEY,
            description=(
                "Makes repeating the request safe. The same key with the same request answers as "
                "the first time, with `Idempotent-Replayed: true`, and does nothing again; with "
                "another request it is refused (422), and while the first one runs, too (409). "
                "Keys are kept for 24 hours."
            ),
            examples=["7d1f6c1e-8f5b-4c7e-9d53-0f1c2b3a4d5e"],
        ),
    ] = None,
) -> None:
    """Describe the header; `route` is where it is obeyed."""


TheCompany = Annotated[Company, Depends(the_company)]
CustomerId = Annotated[
    str,
    Query(
        pattern=r"^cus_[a-z0-9]{1,40}$",
        description="The customer this is done for; what belongs to others is not found.",
        examples=["cus_ada"],
    ),
]
PathOrderId = Annotated[
    str, Path(pattern=r"^[0-9]{4,10}$", description="The order number.", examples=["1001"])
]
Limit = Annotated[int, Query(ge=1, le=100, description="The most entries to answer with.")]
Cursor = Annotated[
    str | SkipJsonSchema[None],
    Query(max_length=40, description="`next_cursor` of the page before this one."),
]
OfOrder = Annotated[
    OrderId | SkipJsonSchema[None],
    Query(description="Only those of this order.", examples=["1002"]),
]
NextCursor = Annotated[
    str | None, Field(description="Give it as `cursor` for the next page; null on the last one.")
]

router = APIRouter(route_class=CompanyRoute)
NO_MORE_THAN_CANCEL = OrderCancellation()

ONCE: dict[str, Any] = {"dependencies": [Depends(idempotency_key)]}


class OrderPage(Record):
    """Some of a customer's orders."""

    orders: list[Order]
    next_cursor: NextCursor


class Tracking(Record):
    """Where an order is."""

    order_id: str
    status: OrderStatus
    shipments: list[Shipment] = Field(description="Empty until the order is sent.")


class ReturnList(Record):
    """A customer's returns."""

    returns: list[Return]


class RefundList(Record):
    """A customer's refunds."""

    refunds: list[Refund]


class TicketList(Record):
    """A customer's tickets."""

    tickets: list[Ticket]


class ProductList(Record):
    """Products that were found."""

    products: list[Product]


@router.get(
    "/account",
    operation_id="getCustomer",
    summary="Get the customer's account",
    tags=["customers"],
    responses=problems(404),
)
async def get_customer(company: TheCompany, customer_id: CustomerId) -> Customer:
    """Name, e-mail address, postal address and currency of the customer."""
    return shop.customer(company.store.state, customer_id)


@router.get(
    "/orders",
    operation_id="listOrders",
    summary="List the customer's orders",
    tags=["orders"],
    responses=problems(404),
)
async def list_orders(
    company: TheCompany,
    customer_id: CustomerId,
    status: Annotated[
        OrderStatus | SkipJsonSchema[None],
        Query(description="Only orders that stand like this."),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> OrderPage:
    """One page of the customer's orders, the latest first."""
    state = company.store.state
    orders = shop.newest_first(state, state.orders, customer_id)
    wanted = [order for order in orders if status in (None, order.status)]
    shown, next_cursor = shop.page(wanted, cursor, limit)
    return OrderPage(orders=shown, next_cursor=next_cursor)


@router.get(
    "/orders/{order_id}",
    operation_id="getOrder",
    summary="Get an order",
    tags=["orders"],
    responses=problems(404),
)
async def get_order(company: TheCompany, order_id: PathOrderId, customer_id: CustomerId) -> Order:
    """One order with its lines, status, dates, address, and what was paid and refunded."""
    return shop.own("order", company.store.state.orders, order_id, customer_id)


@router.post(
    "/orders/{order_id}/cancel",
    operation_id="cancelOrder",
    summary="Cancel an order",
    tags=["orders"],
    responses=problems(404, 409),
    **ONCE,
)
async def cancel_order(
    company: TheCompany,
    order_id: PathOrderId,
    customer_id: CustomerId,
    cancellation: Annotated[OrderCancellation, Body()] = NO_MORE_THAN_CANCEL,
) -> Order:
    """Cancel an order that is placed or paid. What was paid is refunded in full."""
    return shop.cancel(
        company.store.state, order_id, customer_id, cancellation.reason, company.clock()
    )


@router.put(
    "/orders/{order_id}/shipping-address",
    operation_id="updateShippingAddress",
    summary="Change where an order is sent",
    tags=["orders"],
    responses=problems(404, 409),
)
async def update_shipping_address(
    company: TheCompany, order_id: PathOrderId, customer_id: CustomerId, address: Address
) -> Order:
    """Replace the shipping address of an order that has not been sent yet."""
    return shop.change_address(company.store.state, order_id, customer_id, address)


@router.get(
    "/orders/{order_id}/tracking",
    operation_id="trackOrder",
    summary="Track an order: where is it now?",
    tags=["shipments"],
    responses=problems(404),
)
async def track_order(
    company: TheCompany, order_id: PathOrderId, customer_id: CustomerId
) -> Tracking:
    """The parcels of an order with carrier, tracking number, events and expected delivery."""
    state = company.store.state
    order = shop.own("order", state.orders, order_id, customer_id)
    return Tracking(order_id=order.id, status=order.status, shipments=shop.shipments(state, order))


@router.get(
    "/shipments/{shipment_id}",
    operation_id="getShipment",
    summary="Get a shipment",
    tags=["shipments"],
    responses=problems(404),
)
async def get_shipment(
    company: TheCompany,
    shipment_id: Annotated[
        str, Path(pattern=r"^shp_[0-9]+$", description="The parcel.", examples=["shp_1001"])
    ],
    customer_id: CustomerId,
) -> Shipment:
    """One parcel with carrier, tracking number and everything that happened to it."""
    return shop.own("shipment", company.store.state.shipments, shipment_id, customer_id)


@router.get(
    "/returns",
    operation_id="listReturns",
    summary="List the customer's returns",
    tags=["returns"],
    responses=problems(404),
)
async def list_returns(
    company: TheCompany,
    customer_id: CustomerId,
    order_id: OfOrder = None,
) -> ReturnList:
    """All returns of the customer, the latest first."""
    state = company.store.state
    returns = shop.newest_first(state, state.returns, customer_id)
    return ReturnList(returns=[one for one in returns if order_id in (None, one.order_id)])


@router.post(
    "/returns",
    operation_id="createReturn",
    summary="Return goods of an order",
    tags=["returns"],
    status_code=201,
    responses=problems(404, 409),
    **ONCE,
)
async def create_return(company: TheCompany, customer_id: CustomerId, wanted: NewReturn) -> Return:
    """Announce that goods come back, at most 30 days after delivery. It refunds nothing yet."""
    return shop.send_back(company.store.state, customer_id, wanted, company.clock())


@router.delete(
    "/returns/{return_id}",
    operation_id="cancelReturn",
    summary="Withdraw a return",
    tags=["returns"],
    status_code=204,
    responses=problems(404, 409),
)
async def cancel_return(
    company: TheCompany,
    return_id: Annotated[
        str, Path(pattern=r"^ret_[0-9]+$", description="The return.", examples=["ret_3001"])
    ],
    customer_id: CustomerId,
) -> None:
    """Delete a return whose goods have not arrived at the shop."""
    shop.withdraw(company.store.state, return_id, customer_id)


@router.post(
    "/orders/{order_id}/refunds",
    operation_id="createRefund",
    summary="Refund an order",
    tags=["refunds"],
    status_code=201,
    responses=problems(404, 409),
    **ONCE,
)
async def create_refund(
    company: TheCompany, order_id: PathOrderId, customer_id: CustomerId, wanted: NewRefund
) -> Refund:
    """Give back part or all of what was paid for an order, never more than is left of it."""
    return shop.refund(company.store.state, order_id, customer_id, wanted, company.clock())


@router.get(
    "/refunds",
    operation_id="listRefunds",
    summary="List the customer's refunds",
    tags=["refunds"],
    responses=problems(404),
)
async def list_refunds(
    company: TheCompany,
    customer_id: CustomerId,
    order_id: OfOrder = None,
) -> RefundList:
    """All refunds of the customer, the latest first."""
    state = company.store.state
    refunds = shop.newest_first(state, state.refunds, customer_id)
    return RefundList(refunds=[one for one in refunds if order_id in (None, one.order_id)])


@router.get(
    "/refunds/{refund_id}",
    operation_id="getRefund",
    summary="Get a refund",
    tags=["refunds"],
    responses=problems(404),
)
async def get_refund(
    company: TheCompany,
    refund_id: Annotated[
        str, Path(pattern=r"^rfd_[0-9]+$", description="The refund.", examples=["rfd_4001"])
    ],
    customer_id: CustomerId,
) -> Refund:
    """One refund with its amount, reason and time."""
    return shop.own("refund", company.store.state.refunds, refund_id, customer_id)


@router.get(
    "/tickets",
    operation_id="listTickets",
    summary="List the customer's tickets",
    tags=["tickets"],
    responses=problems(404),
)
async def list_tickets(company: TheCompany, customer_id: CustomerId) -> TicketList:
    """All tickets of the customer, the latest first."""
    state = company.store.state
    return TicketList(tickets=shop.newest_first(state, state.tickets, customer_id))


@router.post(
    "/tickets",
    operation_id="createTicket",
    summary="Open a ticket",
    tags=["tickets"],
    status_code=201,
    responses=problems(404, 409),
    **ONCE,
)
async def create_ticket(company: TheCompany, customer_id: CustomerId, wanted: NewTicket) -> Ticket:
    """Ask the people of the shop; they answer by e-mail."""
    return shop.ask(company.store.state, customer_id, wanted, company.clock())


TicketId = Annotated[
    str, Path(pattern=r"^tic_[0-9]+$", description="The ticket.", examples=["tic_2001"])
]


@router.get(
    "/tickets/{ticket_id}",
    operation_id="getTicket",
    summary="Get a ticket",
    tags=["tickets"],
    responses=problems(404),
)
async def get_ticket(company: TheCompany, ticket_id: TicketId, customer_id: CustomerId) -> Ticket:
    """One ticket with all its comments."""
    return shop.own("ticket", company.store.state.tickets, ticket_id, customer_id)


@router.post(
    "/tickets/{ticket_id}/comments",
    operation_id="addTicketComment",
    summary="Write a comment in a ticket",
    tags=["tickets"],
    status_code=201,
    responses=problems(404, 409),
    **ONCE,
)
async def add_ticket_comment(
    company: TheCompany, ticket_id: TicketId, customer_id: CustomerId, wanted: NewTicketComment
) -> Ticket:
    """Add the customer's words to a ticket."""
    return shop.comment(company.store.state, ticket_id, customer_id, wanted.text, company.clock())


@router.get(
    "/products",
    operation_id="searchProducts",
    summary="Search products",
    tags=["products"],
    responses=problems(),
)
async def search_products(
    company: TheCompany,
    q: Annotated[
        str | SkipJsonSchema[None],
        Query(
            max_length=200,
            description="Words that must all occur in name, category or description.",
            examples=["tent"],
        ),
    ] = None,
    category: Annotated[
        str | SkipJsonSchema[None],
        Query(max_length=40, description="Only this category.", examples=["footwear"]),
    ] = None,
    in_stock: Annotated[bool, Query(description="Only what can be sent today.")] = False,
    limit: Limit = 20,
) -> ProductList:
    """Products with price and stock. Needs no customer."""
    found = shop.search(company.store.state.products.values(), q, category, in_stock)
    return ProductList(products=found[:limit])
