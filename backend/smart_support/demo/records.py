"""What the shop keeps, and what its API shows: the same records for both.

Amounts of money are integers in minor units (cents, pence); what people read is derived from
them. Times are in UTC.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Currency = Literal["EUR", "GBP", "USD"]

MINOR_UNITS = 100  # of one unit of each currency the shop takes


class Record(BaseModel):
    """Something the shop knows; unknown fields in a request are refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class OrderStatus(StrEnum):
    """Where an order is on its way."""

    PLACED = "placed"
    PAID = "paid"
    PACKED = "packed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


def _number_only(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004 (pydantic catches no TypeError)
    return value


Amount = Annotated[
    Decimal,
    BeforeValidator(_number_only),
    Field(gt=0, le=1_000_000, decimal_places=2),
    WithJsonSchema({"type": "number", "minimum": 0.01, "maximum": 1_000_000}),
]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
OrderId = Annotated[str, Field(pattern=r"^[0-9]{4,10}$", examples=["1001"])]


class Money(Record):
    """An amount of money."""

    minor_units: int = Field(description="The exact amount in cents or pence.", examples=[4990])
    currency: Currency = Field(description="ISO 4217 code.")
    amount: float = Field(description="The same amount as a decimal number.", examples=[49.9])
    display: str = Field(description="The amount for people to read.", examples=["49.90 EUR"])


def money(minor_units: int, currency: Currency) -> Money:
    """Write `minor_units` of `currency` in every form the API shows."""
    units, rest = divmod(minor_units, MINOR_UNITS)
    return Money(
        minor_units=minor_units,
        currency=currency,
        amount=minor_units / MINOR_UNITS,
        display=f"{units}.{rest:02d} {currency}",
    )


class Address(Record):
    """Where a parcel goes."""

    name: str = Field(min_length=1, max_length=120, examples=["Ada Quist"])
    street: str = Field(min_length=1, max_length=200, examples=["Lindenweg 4"])
    city: str = Field(min_length=1, max_length=100, examples=["Kiel"])
    postal_code: str = Field(min_length=2, max_length=12, examples=["24103"])
    country: str = Field(
        pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2 code.", examples=["DE"]
    )


class Customer(Record):
    """Someone who buys here."""

    id: str = Field(examples=["cus_ada"])
    name: str = Field(examples=["Ada Quist"])
    email: str = Field(examples=["ada@example.com"])
    since: datetime = Field(description="When the account was opened.")
    address: Address
    currency: Currency


class Product(Record):
    """Something the shop sells. Prices are the same number in every currency."""

    sku: str = Field(description="Stock keeping unit.", examples=["TENT-2P"])
    name: str = Field(examples=["Heron two-person tent"])
    category: str = Field(examples=["tents"])
    description: str
    price: Money
    in_stock: int = Field(ge=0, description="Pieces that can be sent today.")


class OrderLine(Record):
    """One product of an order."""

    sku: str = Field(examples=["TENT-2P"])
    name: str
    quantity: int = Field(ge=1)
    unit_price: Money
    total: Money


class Order(Record):
    """What a customer bought, and how far it is."""

    id: str = Field(description="The order number.", examples=["1001"])
    customer_id: str = Field(examples=["cus_ada"])
    status: OrderStatus
    placed_at: datetime
    paid_at: datetime | None
    shipped_at: datetime | None
    delivered_at: datetime | None
    cancelled_at: datetime | None
    lines: list[OrderLine]
    shipping: Money = Field(description="What the customer pays for sending it.")
    total: Money = Field(description="All lines and shipping.")
    paid: Money = Field(description="What the customer has paid; nothing before payment.")
    refunded: Money = Field(description="What was given back so far.")
    refundable: Money = Field(description="What can still be given back.")
    shipping_address: Address
    shipment_ids: list[str] = Field(examples=[["shp_1001"]])


class TrackingEvent(Record):
    """Something that happened to a parcel."""

    at: datetime
    place: str
    description: str


class ShipmentStatus(StrEnum):
    """Where a parcel is on its way."""

    IN_TRANSIT = "in_transit"
    DELAYED = "delayed"
    DELIVERED = "delivered"


class Shipment(Record):
    """One parcel of an order."""

    id: str = Field(examples=["shp_1001"])
    order_id: str = Field(examples=["1001"])
    customer_id: str
    carrier: str = Field(examples=["Blue Kestrel Freight"])
    tracking_number: str = Field(examples=["BK001001DE"])
    status: ShipmentStatus
    estimated_delivery: datetime
    events: list[TrackingEvent] = Field(description="Oldest first.")


class ReturnLine(Record):
    """One product that comes back."""

    sku: str = Field(min_length=1, max_length=40, examples=["TENT-2P"])
    quantity: int = Field(ge=1, le=1000)


class Return(Record):
    """Goods that a customer sends back."""

    id: str = Field(examples=["ret_3001"])
    order_id: str = Field(examples=["1002"])
    customer_id: str
    status: Literal["requested", "received"]
    reason: str
    lines: list[ReturnLine]
    requested_at: datetime


class Refund(Record):
    """Money that was given back."""

    id: str = Field(examples=["rfd_4001"])
    order_id: str = Field(examples=["1002"])
    customer_id: str
    amount: Money
    reason: str
    status: Literal["completed"]
    created_at: datetime


class TicketComment(Record):
    """One message of a ticket."""

    author: Literal["customer", "staff"]
    text: str
    at: datetime


class Ticket(Record):
    """A question that people of the shop look after."""

    id: str = Field(examples=["tic_2001"])
    customer_id: str
    subject: str
    status: Literal["open", "closed"]
    order_id: str | None = Field(description="The order it is about, if any.")
    created_at: datetime
    comments: list[TicketComment] = Field(description="Oldest first.")


class StoredAnswer(Record):
    """The answer to a finished request, kept for its Idempotency-Key."""

    fingerprint: str
    status: int
    body: str
    at: datetime


class State(Record):
    """Everything the shop knows. It is written to disk as a whole."""

    opened_at: datetime
    customers: dict[str, Customer]
    products: dict[str, Product]
    orders: dict[str, Order]
    shipments: dict[str, Shipment]
    returns: dict[str, Return]
    refunds: dict[str, Refund]
    tickets: dict[str, Ticket]
    next_number: dict[str, int] = Field(description="The next free number by id prefix.")
    answers: dict[str, StoredAnswer] = Field(description="By Idempotency-Key, oldest first.")

    def new_id(self, prefix: str) -> str:
        """Take the next free id of a kind; ids of deleted records are not given again."""
        number = self.next_number[prefix]
        self.next_number[prefix] = number + 1
        return f"{prefix}_{number}"
