from typing import Any

import pytest

from smart_support.agent.offline.fill import Known, Missing, fill, lookup, question
from smart_support.agent.offline.tool import Tool, read_tool


def tool(name: str = "createThing", required: tuple[str, ...] = (), **properties: Any) -> Tool:
    defs = properties.pop("defs", {})
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "$defs": defs,
    }
    made = read_tool({"function": {"name": name, "description": "", "parameters": parameters}})
    assert made is not None
    return made


MINOR = {"type": "integer", "description": "in cents"}


@pytest.mark.parametrize(
    ("text", "name", "schema", "expected"),
    [
        ("refund $25", "amount", {"type": "number"}, 25),
        ("refund $25.50", "amount", {"type": "number"}, 25.5),
        ("refund $25.50", "amount", MINOR, 2550),
        ("in euros: 5 EUR", "currency", {"enum": ["EUR", "USD"]}, "EUR"),
        ("mail me at a.b+c@example.com.", "email", {"type": "string"}, "a.b+c@example.com"),
        ("on 2026-12-24 please", "day", {"type": "string", "format": "date"}, "2026-12-24"),
        ("order 77", "order_id", {"type": "integer"}, 77),
        ("order A-77", "order_id", {"type": "string", "examples": ["B-1"]}, None),
        ("order B-77", "order_id", {"type": "string", "examples": ["B-1"]}, "B-77"),
        ("with high priority", "priority", {"enum": ["low", "high"]}, "high"),
        ("make it urgent", "urgent", {"type": "boolean"}, True),
        ("make it", "urgent", {"type": "boolean", "default": False}, False),
        ("for 4 people", "seats", {"type": "integer"}, 4),
        ("for 40 people", "seats", {"type": "integer", "maximum": 9}, 9),
        ("for 0 people", "seats", {"type": "integer", "minimum": 1}, 1),
        ("for people", "seats", {"type": "integer", "default": 2}, 2),
        ("anything", "kind", {"const": "fixed"}, "fixed"),
        ("anything", "reason", {"type": "string", "default": "none given"}, "none given"),
        ("since it is far too long", "reason", {"type": "string", "maxLength": 5}, "It is"),
        ("anything", "tags", {"type": "array", "items": {"type": "string"}}, None),
        ("anything", "odd", {"type": "null"}, None),
        ("anything", "deep", {"type": ["object", "null"], "properties": {}}, {}),
    ],
)
def test_reads_each_kind_of_argument(
    text: str, name: str, schema: dict[str, Any], expected: Any
) -> None:
    one = tool(required=(name,), **{name: schema})
    got = fill(one, Known(texts=(text,)))
    assert got.arguments.get(name) == expected
    assert [each.path for each in got.missing] == ([] if expected is not None else [name])


def test_follows_references_and_alternatives() -> None:
    one = tool(
        required=("body",),
        body={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Body"}]},
        defs={"Body": {"properties": {"amount": {"type": "number"}}, "required": ["amount"]}},
    )
    assert fill(one, Known(texts=("5 EUR",))).arguments == {"body": {"amount": 5}}
    assert [m.path for m in fill(one, Known(texts=("so",))).missing] == ["body.amount"]


@pytest.mark.parametrize("reference", ["#/$defs/Loop", "#/nowhere", "http://x/y", 7])
def test_strange_references_end(reference: Any) -> None:
    loop = {"$ref": "#/$defs/Loop"}
    one = tool(required=("body",), body={"$ref": reference}, defs={"Loop": loop})
    fill(one, Known(texts=("so",)))


def test_schemas_without_end_are_cut() -> None:
    node = {"properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}
    one = tool(required=("body",), body={"$ref": "#/$defs/Node"}, defs={"Node": node})
    assert fill(one, Known(texts=("so",))).missing


def test_what_is_optional_is_left_out_unless_it_is_said() -> None:
    one = tool(
        limit={"type": "integer"},
        note={"type": "string"},
        seats={"type": "integer"},
        amount={"type": "number"},
        sku_id={"type": "string"},
        body={"properties": {"amount": {"type": "number"}}, "required": ["amount"]},
    )
    assert fill(one, Known(texts=("do it",))).arguments == {}
    assert fill(one, Known(texts=("give 5 EUR",))).arguments["body"] == {"amount": 5}


def test_a_value_may_come_from_an_answer() -> None:
    one = tool(required=("amount", "colour"), amount={"type": "number"}, colour={"type": "string"})
    asked = Known(texts=("pay me", "12,50"), answer="12,50", asked="amount")
    assert fill(one, asked).arguments == {"amount": 12.5}
    nothing = Known(texts=("pay me", "much"), answer="much", asked="amount")
    assert fill(one, nothing).arguments == {}
    colour = Known(texts=("paint", "light blue"), answer="light blue", asked="colour")
    assert fill(one, colour).arguments == {"colour": "light blue"}


ORDER = {
    "id": "1002",
    "currency": "EUR",
    "refundable": {"amount": 30.5, "minor_units": 3050},
    "lines": [
        {"sku": "A", "name": "red lamp", "quantity": 2, "total": {"minor_units": 1000}},
        {"sku": "B", "name": "blue chair", "quantity": 1, "total": {"minor_units": 2000}},
    ],
}


class TestFromResults:
    def refund(self, text: str, *results: Any, amount: Any = None) -> dict[str, Any]:
        one = tool(
            "createRefund",
            required=("order_id", "amount"),
            amount=amount or {"type": "number"},
            order_id={"type": "string", "pattern": "^[0-9]{4}$"},
        )
        return fill(one, Known(texts=(text,), results=results)).arguments

    def test_what_is_left_of_the_order(self) -> None:
        assert self.refund("refund 1002", ORDER)["amount"] == 30.5
        assert self.refund("refund 1002", ORDER, amount=MINOR)["amount"] == 3050
        flat = {"id": "1002", "remaining": 12.0}
        assert self.refund("refund 1002", flat)["amount"] == 12

    def test_only_of_that_order(self) -> None:
        assert "amount" not in self.refund("refund 1003", ORDER)
        assert "amount" not in self.refund("refund 1002", {"id": "1002", "refundable": None})
        assert "amount" not in self.refund("refund 1002", {"id": "1002", "refundable": 0})

    def test_only_for_the_line_that_is_named(self) -> None:
        assert self.refund("refund the lamp of 1002", ORDER)["amount"] == 10
        assert self.refund("refund the lamp of 1002", ORDER, amount=MINOR)["amount"] == 1000
        assert self.refund("refund lamp and chair of 1002", ORDER)["amount"] == 30.5

    def test_lines_that_are_named(self) -> None:
        items = {"properties": {"sku": {"type": "string"}, "quantity": {"type": "integer"}}}
        one = tool(
            "createReturn",
            required=("order_id", "lines"),
            order_id={"type": "string"},
            lines={"type": "array", "items": items},
        )

        def lines(text: str) -> Any:
            known = Known(texts=(text,), results=(ORDER,))
            return fill(one, known).arguments.get("lines")

        assert lines("return one lamp of order 1002") == [{"sku": "A", "quantity": 1}]
        assert lines("return all of order 1002") == [
            {"sku": "A", "quantity": 2},
            {"sku": "B", "quantity": 1},
        ]
        assert lines("return order 1002") is None
        assert lines("return the lamp of order 1003") is None

    def test_the_only_thing_of_its_kind(self) -> None:
        one = tool("getShipment", required=("shipment_id",), shipment_id={"type": "string"})

        def shipment(*results: Any) -> Any:
            return fill(one, Known(texts=("where is it",), results=results)).arguments

        assert shipment({"shipment_ids": ["s1"]}) == {"shipment_id": "s1"}
        assert shipment({"shipments": [{"id": "s1"}]}) == {"shipment_id": "s1"}
        assert shipment({"shipment_id": "s1"}) == {"shipment_id": "s1"}
        assert shipment({"shipments": [{"id": "s1"}, {"id": "s2"}]}) == {}

    def test_an_option_that_is_needed(self) -> None:
        one = tool(
            required=("currency", "status"), currency={"enum": ["EUR"]}, status={"enum": ["open"]}
        )
        known = Known(texts=("do it",), results=({"inner": [{"currency": "EUR"}]},))
        assert fill(one, known).arguments == {"currency": "EUR"}

    def test_an_id_that_was_named_before(self) -> None:
        one = tool(required=("order_id",), order_id={"type": "string"})
        used = Known(texts=("cancel it",), arguments=({"body": {"order_id": "1002"}},))
        said = Known(texts=("cancel it",), earlier=("where is order 1003?",))
        assert fill(one, used).arguments == {"order_id": "1002"}
        assert fill(one, said).arguments == {"order_id": "1003"}


@pytest.mark.parametrize(
    ("name", "schema", "words"),
    [
        ("order_id", {}, "Which order"),
        ("id", {}, "Which thing"),
        ("reason", {}, "reason"),
        ("message", {}, "What should I write"),
        ("amount", {}, "How much"),
        ("street", {}, "full address"),
        ("lines", {"type": "array"}, "Which products"),
        ("size", {"enum": ["small", "very_large"]}, "small, very large"),
        ("favourite_colour", {}, "What is the favourite colour?"),
    ],
)
def test_asks_in_plain_words(name: str, schema: dict[str, Any], words: str) -> None:
    assert words in question(tool(), Missing(f"body.{name}", schema))


def test_looks_up_only_with_reads_that_can_be_called() -> None:
    order = tool("getOrder", required=("order_id",), order_id={"type": "string"})
    missing = Missing("body.amount", {"type": "number"})
    assert lookup(missing, [order], Known(texts=("refund",))) is None
    assert lookup(missing, [order], Known(texts=("refund order 1002",))) is not None
    assert lookup(Missing("reason", {}), [order], Known(texts=("order 1002",))) is None
