"""Turning pages from the first to the last, as the model does it, against an API over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.operations.documents import openapi, parameter, spec_of
from tests.support.model_endpoint import calls, says
from tests.support.turns import Desk
from tests.support.upstream import Request, Upstream, answers

from smart_support.operations.records import ReviewState
from smart_support.operations.review import Correction, decide

THINGS = [{"id": f"thing-{n}"} for n in range(1, 6)]
SIZE = 2
NUMBER = {"type": "integer"}
TEXT = {"type": "string"}
LIST = {"type": "array", "items": {"type": "object"}}


class PagedShop(Upstream):
    """An API with five things, which turns pages in one of the usual ways."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style

    @property
    def document(self) -> dict[str, Any]:
        """What it says of itself."""
        names, schema, headers = DESCRIBED[self.style]
        response = {
            "description": "A page.",
            "content": {"application/json": {"schema": schema}},
            "headers": {name: {"schema": TEXT} for name in headers},
        }
        listing = {
            "operationId": "listThings",
            "summary": "List the things",
            "parameters": [parameter(name, schema=kind) for name, kind in names.items()],
            "responses": {"200": response},
        }
        return openapi({"/things": {"get": listing}}, servers=[{"url": self.base_url}])

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.queue(ANSWERED[self.style](self, request.query))
        await super()._answer(request, reader, writer)

    def by_cursor(self, query: dict[str, list[str]]) -> Any:
        """A mark in the answer says where the next page begins."""
        start = int(query.get("cursor", ["at-0"])[0].removeprefix("at-"))
        end = start + SIZE
        more = end < len(THINGS)
        mark = f"at-{end}" if more else None
        paging = {"next_cursor": mark, "has_more": more}
        return answers({"data": THINGS[start:end], "paging": paging})

    def by_last_id(self, query: dict[str, list[str]]) -> Any:
        """The last entry is the mark of the next page."""
        ids = [one["id"] for one in THINGS]
        start = ids.index(query["starting_after"][0]) + 1 if "starting_after" in query else 0
        page = THINGS[start : start + SIZE]
        return answers({"data": page, "has_more": page[-1] != THINGS[-1]})

    def by_link(self, query: dict[str, list[str]]) -> Any:
        """The address of the next page stands in a header (RFC 8288)."""
        page = int(query.get("page", ["1"])[0])
        first = {"page": 1, "per_page": SIZE}
        links = [f'<{self.base_url}/things?{urlencode(first)}>; rel="first"']
        if page * SIZE < len(THINGS):
            after = {"per_page": SIZE, "page": page + 1}
            links.append(f'<{self.base_url}/things?{urlencode(after)}>; rel="next"')
        return answers(THINGS[(page - 1) * SIZE : page * SIZE], headers={"Link": ", ".join(links)})

    def by_offset(self, query: dict[str, list[str]]) -> Any:
        """The caller counts how many entries it has had."""
        start = int(query.get("offset", ["0"])[0])
        return answers({"items": THINGS[start : start + SIZE], "total": len(THINGS)})


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


DESCRIBED: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "cursor": (
        {"cursor": TEXT, "limit": NUMBER},
        _object(data=LIST, paging=_object(next_cursor=TEXT, has_more={"type": "boolean"})),
        (),
    ),
    "last id": (
        {"starting_after": TEXT, "limit": NUMBER},
        _object(data=LIST, has_more={"type": "boolean"}),
        (),
    ),
    "link": ({"page": NUMBER, "per_page": NUMBER}, LIST, ("Link",)),
    "offset": ({"offset": NUMBER, "limit": NUMBER}, _object(items=LIST, total=NUMBER), ()),
}
ANSWERED: dict[str, Callable[[PagedShop, dict[str, list[str]]], Any]] = {
    "cursor": PagedShop.by_cursor,
    "last id": PagedShop.by_last_id,
    "link": PagedShop.by_link,
    "offset": PagedShop.by_offset,
}
ASKED = {
    "cursor": [{}, {"cursor": ["at-2"]}, {"cursor": ["at-4"]}],
    "last id": [{}, {"starting_after": ["thing-2"]}, {"starting_after": ["thing-4"]}],
    "link": [{}, {"page": ["2"]}, {"page": ["3"]}],
    "offset": [{}, {"offset": ["2"]}, {"offset": ["4"]}],
}


@pytest.fixture(params=list(DESCRIBED))
async def shop(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[PagedShop]:
    """Such an API, imported and approved as suggested."""
    async with PagedShop(request.param) as opened:
        draft = spec_of(opened.document)
        saved = await desk.operations.save_draft(draft, name="paged", document=b"{}", by="op")
        (listing,) = await desk.operations.operations(saved.spec.id)
        await decide(
            desk.operations,
            listing,
            state=ReviewState.APPROVED,
            correction=Correction(),
            by="op",
            reason=None,
            version=listing.version,
        )
        yield opened


async def listed(desk: Desk, **arguments: Any) -> dict[str, Any]:
    """What the model reads when it lists things in a turn of its own."""
    desk.model.queue(calls(("listThings", arguments)), says("Here they are."))
    await desk.say("What is there?")
    read: dict[str, Any] = json.loads(desk.told()[-1]["content"])
    return read


def names_in(read: dict[str, Any]) -> list[str]:
    """The ids in an answer, whatever way it is wrapped."""
    text = json.dumps(read)
    return [one["id"] for one in THINGS if f'"{one["id"]}"' in text]


async def test_every_page_is_read_once_and_the_last_one_ends_it(
    desk: Desk, shop: PagedShop
) -> None:
    first = await listed(desk)
    second = await listed(desk, cursor=first["cursor"])
    last = await listed(desk, cursor=second["cursor"])

    assert [one["has_more"] for one in (first, second, last)] == [True, True, False]
    assert "cursor" not in last
    assert [request.query for request in shop.requests] == ASKED[shop.style]
    assert names_in(first) == ["thing-1", "thing-2"]
    assert names_in(second)[-2:] == ["thing-3", "thing-4"]
    assert names_in(last)[-1:] == ["thing-5"]
    assert await desk.calls() == [("GET /things", "done")] * 3


async def test_the_model_sees_one_cursor_whatever_the_api_calls_it(
    desk: Desk, shop: PagedShop
) -> None:
    await listed(desk)

    (tool,) = [
        each["function"]
        for each in desk.model.requests[0].body["tools"]
        if each["function"]["name"] == "listThings"
    ]
    names, _, _ = DESCRIBED[shop.style]
    turned = next(iter(names))
    offered = set(tool["parameters"]["properties"])
    assert "cursor" in offered
    assert offered - {"cursor"} == set(names) - {turned}


async def test_a_cursor_that_no_answer_gave_is_not_sent(desk: Desk, shop: PagedShop) -> None:
    desk.model.queue(calls(("listThings", {"cursor": "made up"})), says("I cannot."))
    await desk.say("Go on from where we were.")

    assert "the one that the last answer gave" in desk.told()[-1]["content"]
    assert shop.requests == []
