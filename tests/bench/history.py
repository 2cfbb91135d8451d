"""`python -m tests.bench.history`: the pages of leads over months of conversations, and growing.

Each page is asked of the running product over HTTP, and of the database alone, in turn with a
lookup by primary key; docs/benchmarks.md says what the columns mean.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg  # type: ignore[import-untyped]
from tests.bench.years import Years

from smart_support.analytics.listings import Listing, Selection
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.troubles import Which
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.conversations.lifecycle import ThreadFilter
from smart_support.conversations.postgres import PostgresConversationTracker
from smart_support.database.engine import open_engine, sessions
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.standing import Status
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import Tokens

KEY = "a key of this benchmark that signs tokens"
LEAD = Person(id="lead_1", role=Role.LEAD, name="Lee")
ROUNDS = 200
MOST = 20.0
"""Times a lookup by primary key that a page may take, each at its 95th percentile."""

Work = Callable[[], Awaitable[object]]


class Page:
    """GET over one connection that stays open, with as little of a client as there can be."""

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self._token = token

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, limit=1 << 24
        )

    async def get(self, path: str, **query: Any) -> bytes:
        """The body of the answer.

        Raises:
            RuntimeError: the answer is not 200.
        """
        given = {name: value for name, value in query.items() if value is not None}
        self._writer.write(
            f"GET {path}?{urlencode(given)} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Authorization: Bearer {self._token}\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(line for line in lines if line.startswith("content-length:"))
        body = await self._reader.readexactly(int(length.partition(":")[2]))
        if " 200" not in lines[0]:
            raise RuntimeError(f"{path} {given}: {lines[0]} {body[:300]!r}")
        return body

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@dataclass(frozen=True)
class Case:
    """One page: what the browser asks for, and what the database is asked for it."""

    name: str
    path: str
    query: dict[str, Any]
    alone: Work | None = None


@dataclass
class Row:
    """Times of one page in milliseconds, each beside a lookup made just before."""

    name: str
    size: int
    body: int = 0
    floor: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    def ratio(self, samples: Sequence[float]) -> float:
        """How many lookups `samples` is, both at the 95th percentile."""
        return at(samples, 0.95) / at(self.floor, 0.95)


def at(samples: Sequence[float], share: float) -> float:
    """The sample that `share` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cases(years: Years, replay: int, sessions_: Any) -> list[Case]:
    """Every page that a support lead opens, as the page asks for it."""
    tracker = PostgresConversationTracker(sessions_)
    recorder = PostgresAnalyticsRecorder(sessions_)
    troubles = PostgresTroubles(sessions_)
    log = PostgresEventLog(sessions_)
    found: list[Case] = []

    thread = years.long_thread
    for name, after in (("first page", 0), ("in the middle", years.long_events // 2)):
        found.append(
            Case(
                f"replay, {name}",
                f"/api/threads/{thread}/replay",
                {"limit": replay, "after": after},
                lambda after=after: log.read(thread, after=after, limit=replay),
            )
        )

    def listed(name: str, after: str | None = None, **narrow: Any) -> Case:
        status = narrow.get("status")
        which = ThreadFilter(status=Status(status) if status else None, text=narrow.get("query"))
        return Case(
            f"conversations, {name}",
            "/api/threads",
            {"limit": 50, "cursor": after, **narrow},
            lambda: tracker.threads(which, after, 50),
        )

    found.append(listed("all"))
    found.append(listed("all, far down", years.middle_thread))
    found += [listed(f"state {each.value}", status=each.value) for each in Status]
    for words, text in (
        ("a common word", "kettle"),
        ("one number", years.number),
        ("nothing found", "zebra crossing"),
    ):
        found.append(listed(words, query=text))
        found.append(listed(f"{words}, resolved", query=text, status="resolved"))

    span = {"start": years.start.isoformat(), "end": years.end.isoformat()}
    start, end = years.start, years.end
    found += [
        Case(
            "dashboard, 90 days: what happened",
            "/api/dashboard",
            span,
            lambda: recorder.activity(start, end),
        ),
        Case(
            "dashboard, 90 days: what became of it",
            "/api/dashboard/cohort",
            span,
            lambda: recorder.cohort(start, end),
        ),
        Case(
            "dashboard, 90 days: over time",
            "/api/dashboard/series",
            span | {"bucket": "day"},
            lambda: recorder.series(start, end, "day"),
        ),
    ]
    for listing, dimension in (
        (Listing.CONVERSATIONS, None),
        (Listing.REOPENED, None),
        (Listing.HANDED_OFF, "policy"),
        (Listing.TOOL_CALLS, None),
        (Listing.TOOL_CALLS_FAILED, "getInvoice"),
        (Listing.TURNS_FAILED, "SYS_INTERNAL"),
        (Listing.TOKENS, None),
    ):
        which = Selection(listing=listing, start=start, end=end, dimension=dimension)
        found.append(
            Case(
                f"behind a figure: {listing.value} {dimension or ''}".rstrip(),
                "/api/dashboard/conversations",
                span | {"figure": listing.value, "dimension": dimension, "limit": 50},
                lambda which=which: recorder.counted(which, None, 50),
            )
        )
    errors = span
    found += [
        Case(
            "errors, 90 days", "/api/dashboard/errors", errors, lambda: troubles.summary(start, end)
        ),
        Case(
            "errors, the conversations of a code",
            "/api/dashboard/errors/conversations",
            errors | {"code": "API_UNAVAILABLE", "limit": 30},
            lambda: troubles.conversations(
                Which(start=start, end=end, code="API_UNAVAILABLE"), limit=31
            ),
        ),
    ]
    return found


async def measure(url: str, address: str, years: Years, *, rounds: int, replay: int) -> list[Row]:
    """Every case, `rounds` times over HTTP and alone, each time after a lookup by primary key."""
    engine = open_engine(url, statement_timeout=60)
    connection = await asyncpg.connect(url)
    page = Page(address, Tokens(KEY).issue(LEAD, now=datetime.now(UTC), ttl=36_000))
    await page.open()
    lookup = await connection.prepare("SELECT * FROM threads WHERE id = $1")
    ids = [row[0] for row in await connection.fetch("SELECT id FROM threads LIMIT 1000")]
    rows = []
    try:
        for case in cases(years, replay, sessions(engine)):
            row = Row(case.name, years.events)
            row.body = len(await page.get(case.path, **case.query))  # and caches are warm
            for number in range(rounds):
                began = time.perf_counter()
                await lookup.fetchrow(ids[number % len(ids)])
                looked = time.perf_counter()
                await page.get(case.path, **case.query)
                got = time.perf_counter()
                if case.alone is not None:
                    await case.alone()
                    row.alone.append((time.perf_counter() - got) * 1000)
                row.floor.append((looked - began) * 1000)
                row.rest.append((got - looked) * 1000)
                if number > 9 and time.perf_counter() - began > 1.0:
                    break  # hopeless
            rows.append(row)
    finally:
        await page.close()
        await connection.close()
        await engine.dispose()
    return rows
