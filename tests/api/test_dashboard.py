"""The dashboard over REST: what it answers, and that each number is the total of its list."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.histories import (
    answered,
    called,
    closed,
    handoff,
    histories,
    message,
    opened,
    resolved,
    returned,
)
from tests.support.server import ADA, LEAD, Server

from smart_support.events.records import Event, Fact

HOUR = timedelta(hours=1)
COHORT = (
    "conversations",
    "handled",
    "answered",
    "resolved",
    "resolved_alone",
    "handed_off",
    "abandoned",
    "reopened",
)
# Name in the answer -> name of the list.
ACTIVITY = {
    "opened": "conversations_opened",
    "resolved": "conversations_resolved",
    "abandoned": "conversations_abandoned",
    "reopened": "conversations_reopened",
    "handed_off": "handoffs",
    "messages": "messages",
    "replies": "replies",
    "turns": "turns",
    "turns_done": "turns_done",
    "turns_cancelled": "turns_cancelled",
    "failed": "turns_failed",
    "tool_calls": "tool_calls",
    "tool_errors": "tool_errors",
    "retries": "retries",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "tokens": "tokens",
}
OPERATION = {
    "calls": "tool_calls",
    "done": "tool_calls_done",
    "failed": "tool_calls_failed",
    "declined": "tool_calls_declined",
    "unknown": "tool_calls_unknown",
    "errors": "tool_errors",
    "attempts": "attempts",
    "retries": "retries",
}
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def around_now() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"start": (now - HOUR).isoformat(), "end": (now + HOUR).isoformat()}


async def tell(server: Server, *facts: Fact) -> str:
    """A conversation of Ada in which all this happened just now."""
    thread = await server.thread(ADA)
    await server.parts.log.append(thread, list(facts))
    await server.parts.derivation.catch_up([thread])
    return thread


async def get(lead: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await lead.get(f"/api/dashboard{path}", params=around_now() | params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def tiles(lead: httpx.AsyncClient) -> list[tuple[dict[str, str], int]]:
    """Every number that the dashboard can show, with what its link asks for."""
    cohort = (await get(lead, "/cohort"))["cohort"]
    activity = (await get(lead, ""))["activity"]
    found = [({"figure": name}, cohort[name]) for name in COHORT]
    found += [({"figure": listing}, activity[name]) for name, listing in ACTIVITY.items()]
    found += [({"figure": "response_ms"}, activity["response"]["answered"])]
    found += [
        ({"figure": f"approvals_{name}"}, number) for name, number in activity["approvals"].items()
    ]
    for figure, numbers in (
        ("handed_off", cohort["handoff_reasons"]),
        ("handoffs", activity["handoffs"]),
        ("turns_failed", activity["turns_failed"]),
    ):
        found += [
            ({"figure": figure, "dimension": name}, number) for name, number in numbers.items()
        ]
    for operation in activity["operations"]:
        found += [
            ({"figure": listing, "dimension": operation["operation"]}, operation[name])
            for name, listing in OPERATION.items()
        ]
    return found


async def whole_list(lead: httpx.AsyncClient, link: dict[str, str]) -> tuple[int, list[Any]]:
    """The total and all rows of a list, page after page."""
    page = await get(lead, "/conversations", **link, limit=7)
    total, rows = page["total"], page["threads"]
    while page["next_cursor"]:
        page = await get(lead, "/conversations", **link, limit=7, cursor=page["next_cursor"])
        rows += page["threads"]
        assert page["total"] == total
    assert len(rows) == len({row["id"] for row in rows}) == page["conversations"]
    return total, rows


@settings(max_examples=4, deadline=None, suppress_health_check=SUPPRESSED)
@given(log=histories())
async def test_every_tile_is_the_total_of_the_list_it_links_to(
    server: Server, log: list[Event]
) -> None:
    lead = server.http(LEAD)
    await tell(server, *(event.fact for event in log))

    for link, number in await tiles(lead):
        total, rows = await whole_list(lead, link)
        assert (link, total) == (link, number)
        assert (link, sum(row["part"] for row in rows)) == (link, number)


async def test_says_which_whole_hours_it_counts(server: Server) -> None:
    params = {"start": "2026-03-01T10:20:00+02:00", "end": "2026-03-01T11:00:00+02:00"}

    for path in ("", "/cohort", "/conversations"):
        answer = await get(server.http(LEAD), path, **params, figure="turns")

        assert (answer["start"], answer["end"]) == ("2026-03-01T08:00:00Z", "2026-03-01T09:00:00Z")


async def test_a_row_is_the_conversation_as_it_stands_and_its_part(server: Server) -> None:
    lead = server.http(LEAD)
    thread = await tell(
        server,
        message(text="Two calls"),
        opened(),
        called(call="c1", operation="twoCalls"),
        called(call="c2", operation="twoCalls"),
        returned(call="c1", outcome="failed"),
        closed(),
        handoff(reason="two_calls"),
    )

    calls = await get(lead, "/conversations", figure="tool_calls", dimension="twoCalls")
    handed = await get(lead, "/conversations", figure="handed_off", dimension="two_calls")

    listed = (await lead.get("/api/threads")).json()["threads"][0]
    assert listed["id"] == thread
    assert calls["threads"] == [listed | {"part": 2}]
    assert (calls["total"], calls["conversations"]) == (2, 1)
    assert handed["threads"] == [listed | {"part": 1}]


async def test_rates_are_of_what_they_say(server: Server) -> None:
    lead = server.http(LEAD)
    before = (await get(lead, "/cohort"))["cohort"]
    await tell(server, *answered(), resolved())
    await tell(server, *answered(), called(operation="rated"), returned(outcome="failed"))

    cohort = (await get(lead, "/cohort"))["cohort"]
    activity = (await get(lead, ""))["activity"]

    assert cohort["handled"] == before["handled"] + 2
    assert cohort["auto_resolution_rate"] == cohort["resolved_alone"] / cohort["handled"]
    assert cohort["handoff_rate"] == cohort["handed_off"] / cohort["handled"]
    [rated] = [each for each in activity["operations"] if each["operation"] == "rated"]
    assert (rated["errors"], rated["error_rate"], rated["retries_per_call"]) == (1, 1.0, 0.0)


async def test_the_points_of_the_charts_are_the_tiles(server: Server) -> None:
    lead = server.http(LEAD)
    await tell(server, *answered(), called(), returned(outcome="unknown"), handoff())
    activity = (await get(lead, ""))["activity"]

    for bucket in ("hour", "day"):
        points = (await get(lead, "/series", bucket=bucket))["points"]

        for name in ("opened", "resolved", "handed_off", "replies", "failed", "tool_calls"):
            assert sum(point[name] for point in points) == activity[name]
        assert sum(point["tool_errors"] for point in points) == activity["tool_errors"]


async def test_a_series_that_nobody_could_read_is_refused_before_it_is_read(
    server: Server,
) -> None:
    years = {"start": "2020-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}

    answer = await server.http(LEAD).get(
        "/api/dashboard/series", params={**years, "bucket": "hour"}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "VAL_INVALID_INPUT")
    assert "ask for days instead of hours" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "after its start"),
        ({"start": "2026-03-02T00:00:00"}, "timezone"),
        ({"end": "tomorrow"}, "valid datetime"),
        ({"figure": "weather"}, "conversations"),
        ({"figure": "handled", "dimension": "x"}, "not divided"),
        ({"figure": "response_ms", "dimension": "37"}, "not divided"),
        ({"cursor": "x"}, "UUID"),
        ({"limit": "101"}, "less than or equal to 100"),
    ],
)
async def test_refuses_with_words(server: Server, wrong: dict[str, str], words: str) -> None:
    params = around_now() | {"figure": "turns"} | wrong

    answer = await server.http(LEAD).get("/api/dashboard/conversations", params=params)

    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_what_counts_nothing_lists_nothing(server: Server) -> None:
    lead, past = server.http(LEAD), {"start": "2020-01-01T00:00:00Z", "end": "2020-02-01T00:00:00Z"}

    listed = await get(lead, "/conversations", **past, figure="conversations")
    cohort = (await get(lead, "/cohort", **past))["cohort"]

    assert (listed["total"], listed["threads"], listed["next_cursor"]) == (0, [], None)
    assert (cohort["auto_resolution_rate"], cohort["median_first_reply_ms"]) == (None, None)


async def test_is_for_leads(server: Server) -> None:
    for path in ("", "/cohort", "/series", "/conversations"):
        params = around_now() | {"figure": "turns"}
        refused = await server.http(ADA).get(f"/api/dashboard{path}", params=params)
        unknown = await server.http().get(f"/api/dashboard{path}", params=params)

        assert (refused.status_code, unknown.status_code) == (403, 401)
