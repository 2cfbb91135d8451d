"""A turn whose process died for good is told the customer, and found by a lead."""

from collections.abc import Callable

import sqlalchemy as sa
from tests.support.histories import thread_id
from tests.support.server import ADA, LEAD, running

from smart_support.app.parts import Seams
from smart_support.conversations.postgres import PostgresConversations
from smart_support.conversations.tables import turns
from smart_support.database.engine import open_engine, sessions

DEAD = 7
"""An owner whose lock nobody holds."""


async def left_behind(url: str, *numbers: int) -> None:
    """Turns that a process which is gone was answering an hour ago."""
    engine = open_engine(url)
    connected = sessions(engine)
    store = PostgresConversations(connected, owner=DEAD)
    for number in numbers:
        thread = thread_id(number)
        await store.open_thread(
            thread, customer_id=ADA.id, customer_name=ADA.name, customer_email=None
        )
        await store.receive(thread, thread_id(100 + number), "m1", "Where is my order? " * 30)
    async with connected.begin() as session:
        hour_ago = sa.func.now() - sa.text("interval '1 hour'")
        await session.execute(sa.update(turns).values(opened_at=hour_ago))
    await engine.dispose()


async def test_a_lead_finds_it_and_the_step_where_it_ended(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    await left_behind(url, 1)
    async with running(url, seams=Seams(restart_grace=0.0)) as server:
        await server.settled()
        lead = server.http(LEAD)

        (turn,) = (await lead.get("/api/turns/interrupted")).json()["turns"]

        assert (turn["kind"], turn["code"]) == ("too_late", "REC_TURN_INTERRUPTED")
        assert (turn["customer_name"], turn["answered"]) == (ADA.name, False)
        assert turn["text"].startswith("Where is my order?")
        assert len(turn["text"]) == 200
        replay = f"/api/threads/{turn['thread_id']}/replay"
        page = (await lead.get(replay, params={"after": turn["closed_seq"] - 1})).json()
        fact = page["events"][0]["fact"]
        assert (fact["type"], fact["turn_id"]) == ("turn_closed", turn["turn_id"])

        async with server.chat() as customer:  # who asks again is answered
            await customer.write(turn["thread_id"], "And now?", "m2")
            await customer.only("ack")
        await server.settled()
        answer = await lead.get("/api/turns/interrupted", params={"unanswered": True})
        assert answer.json() == {"turns": [], "next_cursor": None}


async def test_the_list_has_pages_and_says_what_it_does_not_understand(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    await left_behind(url, 1, 2, 3)
    async with running(url, seams=Seams(restart_grace=0.0)) as server:
        await server.settled()
        lead = server.http(LEAD)

        whole = (await lead.get("/api/turns/interrupted")).json()
        first = (await lead.get("/api/turns/interrupted", params={"limit": 2})).json()
        more = {"limit": 2, "cursor": first["next_cursor"]}
        second = (await lead.get("/api/turns/interrupted", params=more)).json()

        assert len(whole["turns"]) == 3
        assert whole["next_cursor"] is None
        assert [*first["turns"], *second["turns"]] == whole["turns"]
        assert second["next_cursor"] is None
        none = await lead.get("/api/turns/interrupted", params={"kind": "given_up"})
        assert none.json()["turns"] == []
        for wrong in ({"kind": "odd"}, {"start": "2026-03-01T09:00:00"}, {"limit": 0}):
            assert (await lead.get("/api/turns/interrupted", params=wrong)).status_code == 422
