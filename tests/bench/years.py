"""Months of conversations in a real database: a few hundred stories, told thousands of times.

The stories are stored row by row, and what is derived from them is derived by the product itself.
Then PostgreSQL copies all their rows, the derived ones too, with other ids, hours and customers:
what was derived holds for a copy as it does for its story, as both differ by whole hours alone.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from tests.bench.stories import PREFIX_LENGTH, UNNUMBERED, Story, prefix_of, stories, tell
from tests.support.sums import sums_statement

from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.tables import (
    episode_figures,
    episodes,
    trouble_readings,
    troubles,
)
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.conversations.postgres import PostgresConversationTracker
from smart_support.conversations.tables import conversation_states, thread_titles, threads, turns
from smart_support.database import Sessions
from smart_support.events.records import payload_of
from smart_support.events.tables import event_logs, events
from smart_support.ledger.tables import approvals, tool_attempts, tool_calls

DAYS = 90
STORIES = 400
LONG_TURNS = 1_170
"""Turns of the one long thread: about 10,000 events."""
PIECE = 500
"""Events that a consumer is given at once."""

COPIED: tuple[tuple[sa.Table, ...], ...] = (
    (events,),
    (
        threads,
        event_logs,
        turns,
        tool_calls,
        tool_attempts,
        approvals,
        conversation_states,
        thread_titles,
        episodes,
        episode_figures,
        troubles,
        trouble_readings,
    ),
)
"""The tables that grow with conversations, shared out among connections."""


@dataclass(frozen=True)
class Years:
    """What the database holds."""

    start: datetime
    end: datetime
    events: int
    turns: int
    threads: int
    long_thread: str
    long_events: int
    middle_thread: str
    """A thread of the middle of the time."""
    number: str
    """Of an order that one title names."""


class Teller:
    """Fills the database at `url` with more and more of the same company's conversations."""

    def __init__(
        self,
        url: str,
        sessions: Sessions,
        *,
        end: datetime,
        many: int = STORIES,
        long_turns: int = LONG_TURNS,
        seed: int = 8,
    ) -> None:
        self._url = url
        self._many = many
        self._long_turns = long_turns
        self._sessions = sessions
        self._end = end
        self._start = end - timedelta(days=DAYS)
        self._chance = random.Random(seed)
        self._stories: list[Story] = []
        self._long: Story | None = None
        self._copies = 0
        self._events = 0
        self._turns = 0
        self._middle: tuple[Any, ...] = ()

    async def tell(self) -> None:
        """Store the stories themselves, and the long one."""
        middle = self._start + timedelta(days=DAYS // 2)
        self._stories = list(stories(self._chance, self._many, middle))
        self._long = tell(
            self._chance, self._many, self._end - timedelta(days=80), self._long_turns
        )
        self._copies = self._many + 1
        every = [*self._stories, self._long]
        connection = await asyncpg.connect(self._url)
        try:
            await _store(connection, every)
        finally:
            await connection.close()
        consumers = (
            PostgresConversationTracker(self._sessions),
            PostgresAnalyticsRecorder(self._sessions),
            PostgresTroubles(self._sessions),
        )
        for story in every:
            for place in range(0, len(story.events), PIECE):
                for consumer in consumers:
                    await consumer.apply({story.thread_id: story.events[place : place + PIECE]})
        self._events += sum(len(story.events) for story in every)
        self._turns += sum(len(story.turns) for story in every)

    async def grow(self, size: int) -> Years:
        """Copy stories until there are `size` events; sums, statistics and free space included."""
        copies = list(self._copied(size))
        async with asyncio.TaskGroup() as group:
            for tables in COPIED:
                group.create_task(self._copy(tables, copies))
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(f"TRUNCATE figure_changes, figure_sums; {sums_statement()}")
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()
        assert self._long is not None
        return Years(
            start=self._start,
            end=self._end,
            events=self._events,
            turns=self._turns,
            threads=self._copies,
            long_thread=self._long.thread_id,
            long_events=len(self._long.events),
            middle_thread=self._middle[1] + "0" * 12,
            number=self._middle[4],
        )

    def _copied(self, size: int) -> list[tuple[Any, ...]]:
        """Which story, from when, whose: in the order of time, as the keys of rows are."""
        hours = [self._start + timedelta(hours=number) for number in range(24 * DAYS - 30)]
        weights = [_busy(hour) for hour in hours]
        drawn: list[tuple[datetime, int]] = []
        while self._events < size:
            place = self._chance.randrange(self._many)
            self._events += len(self._stories[place].events)
            self._turns += len(self._stories[place].turns)
            drawn.append((self._chance.choices(hours, weights)[0], place))
        drawn.sort()
        found = []
        for hour, place in drawn:
            story = self._stories[place]
            first = story.start.replace(minute=0, second=0, microsecond=0)
            number = self._copies
            self._copies += 1
            customer = f"cus_{int(self._chance.paretovariate(0.6)) % 50_000}"
            prefix = prefix_of(story.start + (hour - first), number)
            found.append((story.prefix, prefix, hour - first, customer, f"#{number:08d}"))
        self._middle = found[len(found) // 2]
        return found

    async def _copy(self, tables: Sequence[sa.Table], copies: Sequence[tuple[Any, ...]]) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(_SETTINGS)
            await connection.copy_records_to_table("copies", records=copies)
            await connection.execute("ANALYZE copies")
            for table in tables:
                await _multiply(connection, table, [story.prefix for story in self._stories])
        finally:
            await connection.close()


_SETTINGS = """
SET session_replication_role = replica;
SET synchronous_commit = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET work_mem = '64MB';
CREATE TEMP TABLE copies
    (story text, prefix text, later interval, customer text, number text);
"""
"""Keys of others are not checked row by row: `check` does it for all of them afterwards."""

_WHOSE: Mapping[str, str] = {"threads": "id", "tool_attempts": "tool_call_id"}
"""The column that says which thread a row is of, where it is not `thread_id`."""

_OWN: Mapping[tuple[str, str], str] = {
    ("threads", "customer_id"): "c.customer",
    ("threads", "customer_name"): "'Customer ' || substr(c.customer, 5)",
    ("approvals", "actor"): "c.customer",
    ("conversation_states", "title"): f"replace(s.title, '{UNNUMBERED}', c.number)",
    ("thread_titles", "title"): f"replace(s.title, '{UNNUMBERED}', c.number)",
    ("turns", "text"): f"replace(s.text, '{UNNUMBERED}', c.number)",
    ("events", "payload"): (
        "replace(CASE WHEN s.seq = 1 THEN"
        f" replace(s.payload, '{UNNUMBERED}', c.number) ELSE s.payload END, c.story, c.prefix)"
        "::jsonb"
    ),
}


async def _multiply(
    connection: asyncpg.Connection, table: sa.Table, prefixes: Sequence[str]
) -> None:
    """Copy the stories' rows of this table as the connection's `copies` say."""
    whose = _WHOSE.get(table.name, "thread_id")
    columns = [column for column in table.columns if column.computed is None]
    plain = ", ".join(
        f"{column.name}::text AS {column.name}" if _is_text(column) else column.name
        for column in columns
    )
    await connection.execute(
        f"CREATE TEMP TABLE told AS SELECT left({whose}::text, {PREFIX_LENGTH}) AS story, {plain}"
        f" FROM {table.name}"
        f" WHERE left({whose}::text, {PREFIX_LENGTH}) IN (SELECT DISTINCT story FROM copies)"
        if whose == "tool_call_id"
        else f"CREATE TEMP TABLE told AS SELECT left({whose}::text, {PREFIX_LENGTH}) AS story,"
        f" {plain} FROM {table.name} WHERE {whose} = ANY($1)",
        *(() if whose == "tool_call_id" else ([prefix + "0" * 12 for prefix in prefixes],)),
    )
    await connection.execute("CREATE INDEX ON told (story); ANALYZE told")
    names = ", ".join(column.name for column in columns)
    copied = ", ".join(_copied_value(table, column) for column in columns)
    await connection.execute(
        f"INSERT INTO {table.name} ({names}) SELECT {copied}"
        " FROM copies c JOIN told s ON s.story = c.story"
    )
    await connection.execute("DROP TABLE told")


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.Uuid | JSONB | sa.ARRAY)


def _copied_value(table: sa.Table, column: sa.Column[Any]) -> str:
    if own := _OWN.get((table.name, column.name)):
        return own
    value = f"s.{column.name}"
    if isinstance(column.type, sa.DateTime):
        return f"{value} + c.later"
    if _is_text(column):
        kind = column.type.compile(dialect=sa.dialects.postgresql.dialect())
        return f"replace({value}, c.story, c.prefix)::{kind}"
    if column.name in {"turn_id", "correlation_id"}:
        return f"replace({value}, c.story, c.prefix)"
    return value


def _busy(hour: datetime) -> float:
    """How much is going on: little at night and at weekends, and a little more from day to day."""
    by_day = 1.0 if 8 <= hour.hour < 20 else 0.15
    return by_day * (0.4 if hour.weekday() >= 5 else 1.0)


async def _store(connection: asyncpg.Connection, every: Sequence[Story]) -> None:
    """The stories' own rows, as the product would have written them."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",  # a version byte, then the text
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda sent: orjson.loads(sent[1:]),
    )
    rows: dict[sa.Table, list[dict[str, Any]]] = {
        threads: [
            {
                "id": story.thread_id,
                "customer_id": story.customer,
                "customer_name": "Ada",
                "with_person": story.with_person,
                "opened_at": story.start,
            }
            for story in every
        ],
        event_logs: [
            {"thread_id": story.thread_id, "last_seq": len(story.events), "epoch": 1}
            for story in every
        ],
        events: [
            {
                "thread_id": event.thread_id,
                "seq": event.seq,
                "at": event.at,
                "type": event.fact.type,
                "payload": payload_of(event.fact),
            }
            for story in every
            for event in story.events
        ],
        turns: [row for story in every for row in story.turns],
        tool_calls: [row for story in every for row in story.calls],
        tool_attempts: [row for story in every for row in story.attempts],
        approvals: [row for story in every for row in story.approvals],
    }
    for table, found in rows.items():
        names = list(found[0]) if found else []
        await connection.copy_records_to_table(
            table.name, columns=names, records=[tuple(row[name] for name in names) for row in found]
        )


async def check(url: str) -> list[str]:
    """What is wrong with the copies; nothing, if each is as good as its story."""
    connection = await asyncpg.connect(url)
    try:
        return [
            what
            for what, statement in _RULES.items()
            if await connection.fetchval(f"SELECT EXISTS ({statement})")
        ]
    finally:
        await connection.close()


_RULES: Mapping[str, str] = {
    "a turn without its thread": (
        "SELECT FROM turns t WHERE NOT EXISTS (SELECT FROM threads WHERE id = t.thread_id)"
    ),
    "an attempt without its call": (
        "SELECT FROM tool_attempts a"
        " WHERE NOT EXISTS (SELECT FROM tool_calls WHERE id = a.tool_call_id)"
    ),
    "an approval without its call": (
        "SELECT FROM approvals a"
        " WHERE NOT EXISTS (SELECT FROM tool_calls WHERE id = a.tool_call_id)"
    ),
    "a call without its turn": (
        "SELECT FROM tool_calls c WHERE NOT EXISTS (SELECT FROM turns WHERE id = c.turn_id)"
    ),
    "a log with a gap": (
        "SELECT FROM events e JOIN event_logs l USING (thread_id)"
        " GROUP BY thread_id, last_seq HAVING max(seq) <> last_seq OR count(*) <> last_seq"
    ),
    "a log that is not all derived": (
        "SELECT FROM event_logs l LEFT JOIN conversation_states s USING (thread_id)"
        " LEFT JOIN conversation_episodes e USING (thread_id)"
        " LEFT JOIN conversation_trouble_readings r USING (thread_id)"
        " WHERE (s.applied, e.applied, r.applied)"
        " IS DISTINCT FROM (l.last_seq, l.last_seq, l.last_seq)"
    ),
    "a turn that its event does not name": (
        "SELECT FROM (SELECT thread_id, payload->>'turn_id' AS id FROM events"
        " WHERE type = 'message_received') m"
        " LEFT JOIN turns t ON t.id = m.id::uuid AND t.thread_id = m.thread_id WHERE t.id IS NULL"
    ),
}
