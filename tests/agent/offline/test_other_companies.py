"""Conversations over the APIs of companies that are not the demo's: another trade, other words.

A hotel with enums and dates, a bank with nested bodies and minor units, a clinic with integers
for ids, a telephone company whose every tool is named by method and path.
"""

import json
from typing import Any

import pytest

from smart_support.agent.offline import reply

Json = dict[str, Any]


def tool(name: str, description: str, required: tuple[str, ...] = (), **schemas: Any) -> Json:
    definitions = schemas.pop("defs", None)
    parameters: Json = {"type": "object", "properties": schemas, "required": list(required)}
    parameters |= {"$defs": definitions} if definitions else {}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


class Talk:
    """A conversation in which each tool answers what it was told to answer."""

    def __init__(self, tools: list[Json], **answers: Any) -> None:
        self.tools, self.answers = tools, answers
        self.messages: list[Json] = []
        self.calls: list[tuple[str, Json]] = []

    def says(self, text: str) -> str:
        self.calls = []
        self.messages.append({"role": "user", "content": text})
        for _ in range(8):
            said = reply(self.messages, self.tools)
            if not said.tool_calls:
                self.messages.append({"role": "assistant", "content": said.text})
                return said.text
            (call,) = said.tool_calls
            self.calls.append((call.name, json.loads(call.arguments_json)))
            function = {"name": call.name, "arguments": call.arguments_json}
            wire = {"id": call.id, "type": "function", "function": function}
            result = self.answers.get(call.name, {"id": "x1", "status": "done"})
            self.messages += [
                {"role": "assistant", "content": None, "tool_calls": [wire]},
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)},
            ]
        raise AssertionError("the model goes round in circles")


TEXT = {"type": "string"}
BOOKING_ID = {"type": "string", "pattern": "^B[0-9]{5}$"}
HOTEL = [
    tool("listBookings", "List the guest's bookings"),
    tool("getBooking", "Get a booking", ("booking_id",), booking_id=BOOKING_ID),
    tool("cancelBooking", "Cancel a booking", ("booking_id",), booking_id=BOOKING_ID),
    tool(
        "updateRoom", "Change the room of a booking", ("booking_id", "room_type"),
        booking_id=BOOKING_ID,
        room_type={"type": "string", "enum": ["single", "double", "family_suite"]},
    ),
    tool(
        "createWakeUpCall", "Order a wake-up call", ("booking_id", "day", "guests"),
        booking_id=BOOKING_ID, day={"type": "string", "format": "date"},
        guests={"type": "integer", "minimum": 1, "maximum": 4},
    ),
]  # fmt: skip


class TestHotel:
    def test_finds_its_own_numbers(self) -> None:
        talk = Talk(HOTEL, getBooking={"id": "B10001", "status": "confirmed"})

        told = talk.says("What is the status of booking B10001?")

        assert talk.calls == [("getBooking", {"booking_id": "B10001"})]
        assert told == "Booking B10001 is confirmed."

    @pytest.mark.parametrize(
        ("said", "room"),
        [("a double room", "double"), ("the family suite please", "family_suite"),
         ("SINGLE", "single")],
    )  # fmt: skip
    def test_offers_what_there_is_to_choose_from_and_takes_the_answer(
        self, said: str, room: str
    ) -> None:
        talk = Talk(HOTEL)

        asked = talk.says("Change the room of booking B10001")
        talk.says(said)

        assert asked == "Which room type: single, double, family suite?"
        assert talk.calls == [("updateRoom", {"booking_id": "B10001", "room_type": room})]

    def test_an_answer_that_is_no_choice_is_asked_again(self) -> None:
        talk = Talk(HOTEL)
        asked = talk.says("Change the room of booking B10001")

        assert talk.says("the one with the sea") == asked
        assert talk.calls == []

    def test_all_in_one_sentence_needs_no_question(self) -> None:
        talk = Talk(HOTEL)

        talk.says("Please change booking B10001 to a double room")

        assert talk.calls == [("updateRoom", {"booking_id": "B10001", "room_type": "double"})]

    def test_a_correction_is_about_the_same_with_another_number(self) -> None:
        talk = Talk(HOTEL, getBooking={"id": "B10001", "status": "confirmed"})
        talk.says("What is the status of booking B10001?")

        talk.says("and B10002?")

        assert talk.calls == [("getBooking", {"booking_id": "B10002"})]

    def test_a_number_of_another_kind_is_no_booking(self) -> None:
        talk = Talk(HOTEL, listBookings={"bookings": []})

        told = talk.says("cancel booking 77")

        assert "cancelBooking" not in [name for name, _ in talk.calls]
        assert "Which booking is it about?" in told

    def test_cancels_the_only_one_there_is(self) -> None:
        rows = {"bookings": [{"id": "B10001", "status": "confirmed"}]}
        talk = Talk(HOTEL, listBookings=rows)

        talk.says("cancel my booking")

        assert talk.calls == [
            ("listBookings", {}), ("cancelBooking", {"booking_id": "B10001"}),
        ]  # fmt: skip

    def test_of_two_it_asks_which(self) -> None:
        rows = {"bookings": [{"id": "B10001", "status": "confirmed"}, {"id": "B10002"}]}
        talk = Talk(HOTEL, listBookings=rows)

        asked = talk.says("cancel my booking")
        assert asked.startswith(
            "You have these:\n\n- **Booking B10001**: confirmed\n- **Booking B1"
        )
        assert asked.endswith("Please tell me the booking number.")
        talk.says("B10002")

        assert talk.calls == [("cancelBooking", {"booking_id": "B10002"})]

    def test_thanks_end_it_and_a_no_changes_nothing(self) -> None:
        talk = Talk(HOTEL, listBookings={"bookings": [{"id": "B10001"}, {"id": "B10002"}]})
        talk.says("cancel my booking")

        assert talk.says("never mind") == "All right, I leave it at that. Is there anything else?"
        assert talk.says("thanks!").startswith("You are welcome.")
        assert talk.calls == []


TRANSFER = {
    "type": "object",
    "required": ["order_id", "payment"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^[0-9]{4}$"},
        "payment": {"$ref": "#/$defs/Payment"},
        "memo": {"type": ["string", "null"]},
    },
}
PAYMENT = {
    "type": "object",
    "required": ["amount_cents", "currency"],
    "properties": {
        "amount_cents": {"type": "integer", "description": "Amount in cents"},
        "currency": {"type": "string", "enum": ["EUR", "USD"]},
        "fee": {"type": "object", "properties": {"rate": {"type": "number"}}, "required": ["rate"]},
    },
}
BANK = [
    tool(
        "createRefund", "Refund an order", ("body",),
        body={"$ref": "#/$defs/Transfer"}, defs={"Transfer": TRANSFER, "Payment": PAYMENT},
    ),
    tool("listOrders", "List orders"),
]  # fmt: skip


class TestBank:
    @pytest.mark.parametrize(
        ("said", "cents", "currency"),
        [
            ("refund 12.50 EUR of order 1002", 1250, "EUR"),
            ("refund $1,250 for order 1002", 125_000, "USD"),
            ("refund order 1002 with 0.99 euros", 99, "EUR"),
            ("Please refund €7 to me for order 1002", 700, "EUR"),
            ("I paid 90 EUR for order 1002, please refund 30 EUR", 3000, "EUR"),
        ],
    )
    def test_fills_a_nested_body_in_cents(self, said: str, cents: int, currency: str) -> None:
        talk = Talk(BANK)

        talk.says(said)

        payment = {"amount_cents": cents, "currency": currency}
        assert talk.calls == [
            ("createRefund", {"body": {"order_id": "1002", "payment": payment}})
        ]  # fmt: skip

    def test_asks_for_the_amount_and_takes_a_bare_number_for_it(self) -> None:
        talk = Talk(BANK)

        asked = talk.says("refund order 1002")
        again = talk.says("12,50 EUR")

        assert asked == "How much should it be?"
        payment = {"amount_cents": 1250, "currency": "EUR"}
        assert talk.calls == [("createRefund", {"body": {"order_id": "1002", "payment": payment}})]
        assert again.startswith("Done")

    def test_asks_for_a_currency_it_does_not_know(self) -> None:
        talk = Talk(BANK)

        assert talk.says("refund 5 GBP of order 1002") == "Which currency: eur, usd?"
        assert talk.calls == []


CLINIC = [
    tool("list_appointments", "List appointments"),
    tool(
        "get_appointment", "Show one appointment", ("appointment_id",),
        appointment_id={"type": "integer"},
    ),
    tool(
        "cancel_appointment", "Cancel an appointment", ("appointment_id",),
        appointment_id={"type": "integer"}, reason={"type": "string"},
    ),
]  # fmt: skip


class TestClinic:
    def test_numbers_stay_numbers(self) -> None:
        talk = Talk(CLINIC)

        talk.says("cancel appointment 481 because I am ill")

        assert talk.calls == [
            ("cancel_appointment", {"appointment_id": 481, "reason": "I am ill"})
        ]  # fmt: skip

    def test_what_was_refused_is_told_and_not_tried_again(self) -> None:
        refused = {"error": {"status": 409, "api_said": {"title": "It was yesterday"}}}
        talk = Talk(CLINIC, cancel_appointment=refused)

        told = talk.says("cancel appointment 481")

        assert told == "That did not work. It was yesterday. Nothing was changed."
        assert len(talk.calls) == 1

    def test_it_again_is_the_appointment_that_was_spoken_of(self) -> None:
        talk = Talk(CLINIC, get_appointment={"id": 481, "status": "booked"})
        talk.says("show me appointment 481")

        talk.says("please cancel it")

        assert talk.calls == [("cancel_appointment", {"appointment_id": 481})]

    def test_a_write_is_never_chosen_by_a_question(self) -> None:
        for said in ("Was appointment 481 cancelled?", "Is appointment 481 cancelled yet?"):
            talk = Talk(CLINIC)
            talk.says(said)
            assert "cancel_appointment" not in [name for name, _ in talk.calls]


PHONE = [
    tool("GET_invoices", "Your invoices"),
    tool("GET_invoices_id", "One invoice", ("id",), id={"type": "string", "examples": ["INV-7"]}),
    tool("POST_tickets", "Report a fault", ("message",), message=TEXT),
]


class TestTelephone:
    def test_names_made_of_method_and_path_are_understood(self) -> None:
        talk = Talk(PHONE, GET_invoices=[{"id": "INV-7", "amount": 12, "currency": "EUR"}])

        told = talk.says("show my bills")

        assert talk.calls == [("GET_invoices", {})]
        assert "12.00 EUR" in told

    def test_the_whole_complaint_is_passed_on(self) -> None:
        talk = Talk(PHONE)

        talk.says("I want to report a fault: the line is dead since Monday")

        assert [name for name, _ in talk.calls] == ["POST_tickets"]
        assert "line is dead since Monday" in talk.calls[0][1]["message"]
