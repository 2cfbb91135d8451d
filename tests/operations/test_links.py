"""Which operation may tell what became of another one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.operations.documents import openapi, spec_of

from smart_support.operations.links import linked
from smart_support.operations.records import DraftOperation


def links(paths: dict[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """What is said of each operation: the read that may show its effect, the one of its status."""

    def named(one: DraftOperation, about: str) -> str | None:
        grounds = [ground for ground in one.suggestion.grounds if ground.about == about]
        return " ".join(grounds[0].reason.split(" ")[:2]) if grounds else None

    found = linked(spec_of(openapi(paths)).operations)
    return {one.key: (named(one, "lookup"), named(one, "status")) for one in found}


def test_a_read_of_the_same_path_shows_what_a_write_left() -> None:
    found = links({"/notes": {"get": {}, "post": {}}, "/notes/{id}": {"get": {}, "put": {}}})

    assert found == {
        "GET /notes": (None, None),
        "POST /notes": ("GET /notes", None),
        "GET /notes/{id}": (None, None),
        "PUT /notes/{id}": ("GET /notes/{id}", None),
    }


def test_a_read_below_that_speaks_of_a_status_says_how_far_it_is() -> None:
    found = links(
        {
            "/exports": {"post": {}},
            "/exports/{id}": {"get": {"operationId": "getExportStatus"}},
            "/imports": {"post": {}},
            "/imports/{id}/progress": {"get": {}},
            "/orders": {"post": {}},
            "/orders/{id}": {"get": {}},
        }
    )

    assert found["POST /exports"] == (None, "GET /exports/{id}")
    assert found["POST /imports"] == (None, "GET /imports/{id}/progress")
    assert found["POST /orders"] == (None, None)


def test_what_acts_is_never_asked() -> None:
    assert links({"/a": {"get": {"operationId": "cancelIt"}, "post": {}}})["POST /a"] == (
        None,
        None,
    )


def test_says_why() -> None:
    _, post = linked(spec_of(openapi({"/notes": {"get": {}, "post": {}}})).operations)

    assert "GET /notes reads what this writes" in post.suggestion.reasons[-1]
    assert post.suggestion.grounds[-1].about == "lookup"


SEGMENTS = st.sampled_from(["a", "{id}", "{other}", "status", "job", ""])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(PATHS, max_size=6, unique=True), st.lists(PATHS, max_size=3, unique=True))
def test_the_status_is_that_of_the_first_read_of_all_that_would_do(
    reads: list[str], writes: list[str]
) -> None:
    document: dict[str, Any] = {path: {"get": {}} for path in reads}
    for path in writes:
        document.setdefault(path, {})["post"] = {}
    operations = spec_of(openapi(document)).operations
    told = links(document)
    by_path = {one.path.rstrip("/"): one for one in operations if one.method == "GET"}

    for one in operations:
        if one.method != "POST":
            continue
        expected = None
        for other, read in by_path.items():
            below = one.path.rstrip("/") + "/"
            rest = other.removeprefix(below).strip("/").split("/")
            fits = other.startswith(below) and len(rest) <= 2 and rest[0].startswith("{")
            if fits and {"status", "job"} & set(rest[1:]):
                expected = read.key
                break
        assert told[one.key][1] == expected
