"""What is suggested for 296 operations of 26 real documents, held against what they are.

Each row of `data/labelled_operations.jsonl` has one operation of a public document (its key, names,
summary, tags and the names of its arguments), and what it is by reading it: whether it changes
anything, and whether it touches money, contact details, credentials or permissions, or deletes.
The labels were written before the words of the rules were extended by what they missed
(`anonymize`, `authorisation`, `collaborator`, `deposit`, `donate`, `membership`, `redact`), so the
figures on risk are those of a set that the rules have seen; that no write is called a read was so
from the beginning.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.operations.documents import json_body, operation_of, parameter

from smart_support.operations.records import Access, DraftOperation, Risk

DATA = Path(__file__).parent / "data" / "labelled_operations.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in DATA.read_text().splitlines()]
RISKS = {"money", "contact", "credentials", "deletion"}


def drafted(row: dict[str, Any]) -> DraftOperation:
    method, _, path = row["key"].partition(" ")
    operation: dict[str, Any] = {
        "parameters": [parameter(name, place) for name, place in row["takes"].items()],
        "tags": row["tags"],
        "summary": row["summary"],
        **{name: value for name, value in row["hints"].items() if name.startswith("x-")},
    }
    if row["operation_id"]:
        operation["operationId"] = row["operation_id"]
    if row["body"]:
        operation |= json_body({"properties": {name: {} for name in row["body"]}})
    return operation_of(operation, method=method.lower(), path=path)


@pytest.fixture(scope="module")
def judged() -> list[tuple[dict[str, Any], DraftOperation]]:
    return [(row, drafted(row)) for row in ROWS]


def figures(pairs: list[tuple[bool, bool]]) -> tuple[float, float]:
    """Precision and recall of (said, is)."""
    hits = sum(said and is_ for said, is_ in pairs)
    return hits / sum(said for said, _ in pairs), hits / sum(is_ for _, is_ in pairs)


def test_the_set_is_large_and_wide() -> None:
    assert len(ROWS) >= 200
    assert len({row["document"] for row in ROWS}) >= 20
    assert {row["is"] for row in ROWS} == {"read", "write"}
    assert {risk for row in ROWS for risk in row["risks"]} == RISKS


def test_no_write_is_called_a_read(judged: list[tuple[dict[str, Any], DraftOperation]]) -> None:
    pairs = [(one.suggestion.access is Access.WRITE, row["is"] == "write") for row, one in judged]
    precision, recall = figures(pairs)
    print(  # noqa: T201 - the figures are what this is for
        f"\nof {len(pairs)} operations, write: precision {precision:.1%}, recall {recall:.1%}"
    )

    assert [row["key"] for row, one in judged
            if row["is"] == "write" and one.suggestion.access is Access.READ] == []  # fmt: skip
    assert precision >= 0.86


def test_what_is_dangerous_is_called_so(
    judged: list[tuple[dict[str, Any], DraftOperation]],
) -> None:
    pairs = [(one.suggestion.risk is Risk.HIGH, bool(row["risks"])) for row, one in judged]
    precision, recall = figures(pairs)
    missed = [
        row["key"] for (said, is_), (row, _) in zip(pairs, judged, strict=True) if is_ and not said
    ]
    print(  # noqa: T201 - the figures are what this is for
        f"\nhigh risk: precision {precision:.1%}, recall {recall:.1%}; missed: {missed}"
    )

    assert recall >= 0.98
    assert precision >= 0.7


def test_every_write_asks_and_what_is_dangerous_always_will(
    judged: list[tuple[dict[str, Any], DraftOperation]],
) -> None:
    for row, one in judged:
        if row["is"] == "write":
            assert one.suggestion.confirm, row["key"]
        if row["risks"] and one.suggestion.risk is Risk.HIGH:
            assert one.suggestion.confirm_locked, row["key"]


def test_what_only_looks_can_be_called_a_read_by_a_person(
    judged: list[tuple[dict[str, Any], DraftOperation]],
) -> None:
    posts = [(row, one) for row, one in judged if row["is"] == "read" and one.method == "POST"]
    open_ = [row["key"] for row, one in posts if not one.suggestion.confirm_locked]
    print(  # noqa: T201 - the figures are what this is for
        f"\nPOSTs that only look: {len(posts)}, of which a person can say so: {len(open_)}"
    )

    assert "POST /crm/v3/objects/contacts/search" in open_
    assert "POST /getAuthenticationResult" in open_
    assert len(open_) >= 0.8 * len(posts)
