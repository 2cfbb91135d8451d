"""What a caller may ask the shop to do: the bodies of its writing operations."""

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from smart_support.demo.records import Amount, Currency, OrderId, Record, ReturnLine, Text


class OrderCancellation(Record):
    """Why an order is cancelled."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "Ordered by mistake"}]})

    reason: str = Field(
        default="Cancelled by the customer",
        min_length=1,
        max_length=500,
        description="In the customer's words.",
    )


class NewRefund(Record):
    """Money to give back."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount": 20.0, "currency": "EUR", "reason": "A pole arrived bent"}]
        }
    )

    amount: Amount = Field(
        description="How much, as a decimal number in the order's currency (20.5 = 20.50).",
        examples=[20.0],
    )
    currency: Currency | SkipJsonSchema[None] = Field(
        default=None,
        description="Must be the order's currency, which is meant when this is left out.",
        examples=["EUR"],
    )
    reason: str = Field(
        default="Requested by the customer",
        min_length=1,
        max_length=500,
        description="Why the money is given back.",
    )


class NewReturn(Record):
    """Goods to send back."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "order_id": "1002",
                    "lines": [{"sku": "BOOT-MID", "quantity": 1}],
                    "reason": "Too small",
                }
            ]
        }
    )

    order_id: OrderId = Field(description="The delivered order the goods belong to.")
    lines: list[ReturnLine] = Field(
        min_length=1, max_length=50, description="Which products come back, and how many."
    )
    reason: str = Field(min_length=1, max_length=500, description="Why they come back.")


class NewTicket(Record):
    """A question for the people of the shop."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"subject": "Parcel is late", "message": "Where is it?", "order_id": "1001"}
            ]
        }
    )

    subject: str = Field(min_length=1, max_length=200, description="What it is about, in short.")
    message: Text = Field(description="The whole question.")
    order_id: OrderId | SkipJsonSchema[None] = Field(
        default=None, description="The order it is about, if it is about one."
    )


class NewTicketComment(Record):
    """One more message in a ticket."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "It has arrived, thanks."}]})

    text: Text = Field(description="The message.")
