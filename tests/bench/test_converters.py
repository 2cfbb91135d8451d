"""What counts as usable, and that a converter is run once for each document."""

import json
import sys
from typing import Any

import pytest
from tests.bench.conversion import made_up
from tests.bench.converters import converted, usable_tools

GOOD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/A~1b"}},
    "$defs": {"A/b": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("name", "schema", "usable"),
    [
        ("good", GOOD, 1),
        ("no.dots", GOOD, 0),
        ("x" * 65, GOOD, 0),
        ("array", {"type": "array"}, 0),
        ("invalid", {"type": "object", "properties": []}, 0),
        ("dangling", GOOD | {"$defs": {}}, 0),
        ("elsewhere", {"type": "object", "items": {"$ref": "other.json#/a"}}, 0),
        ("nothing", None, 0),
    ],
)
def test_a_tool_is_usable_if_a_model_can_be_given_it(name: str, schema: Any, usable: int) -> None:
    assert usable_tools([(name, schema)]) == usable


def test_of_two_with_one_name_one_is_usable() -> None:
    assert usable_tools([("good", GOOD), ("good", GOOD), ("other", GOOD)]) == 2


def test_each_document_is_converted_in_a_fork_and_what_breaks_is_told() -> None:
    text = json.dumps(json.loads(made_up()))

    whole, broken = converted(sys.executable, "ours", [text, "[]"])

    assert usable_tools(whole["tools"]) == 200
    assert whole["took"] > 0
    assert whole["parsed"] >= 0
    assert "FileNotOpenAPI" in broken["error"]
