"""`python -m tests.bench.history`: the pages of leads over months of conversations, and growing.

Each page is asked of the running product over HTTP, and of the database alone, in turn with a
lookup by primary key; docs/benchmarks.md says what the columns mean.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg  # type: ignore[import-untyped]
import structlog
import uvloop
from tests.bench.__main__ import interruptible, machine, say
from tests.bench.figures import digits
from tests.bench.processes import ROOT, cpus, product
from tests.bench.years import Teller, Years, check
from tests.support.database import FAST

from smart_support.analytics.listings import Listing, Selection
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.troubles import Which
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.conversations.lifecycle import ThreadFilter
from smart_support.conversations.postgres import PostgresConversationTracker
from smart_support.database import Sessions
from smart_support.database.embedded import embedded_postgres
from smart_support.database.engine import open_engine, sessions
from smart_support.database.schema import migrate
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.standing import Status
from smart_support.identity.people import Person, Role
from smart_support.identity.tokens import Tokens

KEY = "a key of this benchmark that signs tokens"
LEAD = Person(id="lead_1", role=Role.LEAD, name="Lee")
ROUNDS = 200
REPLAYED = 500
"""Events that the replay page asks for at once."""
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

    @property
    def kept(self) -> bool:
        """Whether it is as quick as it shall be."""
        return self.ratio(self.rest) <= MOST


def at(samples: Sequence[float], share: float) -> float:
    """The sample that `share` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cases(years: Years, on: Sessions) -> list[Case]:
    """Every page that a support lead opens, as the browser asks for it."""
    return [*_replay(years, on), *_lists(years, on), *_dashboard(years, on), *_errors(years, on)]


def _replay(years: Years, on: Sessions) -> Iterator[Case]:
    log, thread = PostgresEventLog(on), years.long_thread
    for name, after in (("first page", 0), ("in the middle", years.long_events // 2)):
        yield Case(
            f"replay of {years.long_events:,} events, {name}",
            f"/api/threads/{thread}/replay",
            {"limit": REPLAYED, "after": after},
            partial(log.read, thread, after=after, limit=REPLAYED),
        )


def _lists(years: Years, on: Sessions) -> Iterator[Case]:
    tracker = PostgresConversationTracker(on)

    def listed(
        name: str,
        *,
        status: Status | None = None,
        text: str | None = None,
        after: str | None = None,
    ) -> Case:
        return Case(
            f"conversations, {name}",
            "/api/threads",
            {
                "limit": 50,
                "cursor": after,
                "query": text,
                "status": status.value if status else None,
            },
            partial(tracker.threads, ThreadFilter(status=status, text=text), after, 50),
        )

    yield listed("all")
    yield listed("all, far down", after=years.middle_thread)
    for status in Status:
        yield listed(f"state {status.value}", status=status)
    for words, text in (
        ("a common word", "kettle"),
        ("one number", years.number),
        ("a word that no title has", "zebra crossing"),
    ):
        yield listed(words, text=text)
        yield listed(f"{words}, resolved", text=text, status=Status.RESOLVED)
    yield listed("a common word, far down", text="kettle", after=years.middle_thread)


def _dashboard(years: Years, on: Sessions) -> Iterator[Case]:
    recorder, start, end = PostgresAnalyticsRecorder(on), years.start, years.end
    span = {"start": start.isoformat(), "end": end.isoformat()}
    yield Case(
        "dashboard of 90 days, what happened",
        "/api/dashboard",
        span,
        partial(recorder.activity, start, end),
    )
    yield Case(
        "dashboard of 90 days, what became of it",
        "/api/dashboard/cohort",
        span,
        partial(recorder.cohort, start, end),
    )
    yield Case(
        "dashboard of 90 days, over time",
        "/api/dashboard/series",
        span | {"bucket": "day"},
        partial(recorder.series, start, end, "day"),
    )
    for listing, dimension in (
        (Listing.CONVERSATIONS, None),
        (Listing.REOPENED, None),
        (Listing.HANDED_OFF, "policy"),
        (Listing.TOOL_CALLS, None),
        (Listing.TOOL_CALLS_FAILED, "getOrder"),
        (Listing.TURNS_FAILED, "SYS_INTERNAL"),
        (Listing.TOKENS, None),
    ):
        which = Selection(listing=listing, start=start, end=end, dimension=dimension)
        yield Case(
            f"behind a figure, {listing.value} {dimension or ''}".rstrip(),
            "/api/dashboard/conversations",
            span | {"figure": listing.value, "dimension": dimension, "limit": 50},
            partial(recorder.counted, which, None, 50),
        )


def _errors(years: Years, on: Sessions) -> Iterator[Case]:
    troubles, code = PostgresTroubles(on), "API_UNAVAILABLE"
    span = {"start": years.start.isoformat(), "end": years.end.isoformat()}
    which = Which(start=years.start, end=years.end, code=code)
    yield Case(
        "errors of 90 days",
        "/api/dashboard/errors",
        span,
        partial(troubles.summary, years.start, years.end),
    )
    yield Case(
        "errors of 90 days, the conversations of a code",
        "/api/dashboard/errors/conversations",
        span | {"code": code, "limit": 30},
        partial(troubles.conversations, which, limit=31),
    )


async def measure(url: str, address: str, years: Years, *, rounds: int) -> list[Row]:
    """Every case, `rounds` times over HTTP and alone, each time after a lookup by primary key."""
    engine = open_engine(url, statement_timeout=60)
    connection = await asyncpg.connect(url)
    page = Page(address, Tokens(KEY).issue(LEAD, now=datetime.now(UTC), ttl=36_000))
    await page.open()
    lookup = await connection.prepare("SELECT * FROM threads WHERE id = $1")
    ids = [row[0] for row in await connection.fetch("SELECT id FROM threads LIMIT 1000")]
    rows = []
    try:
        for case in cases(years, sessions(engine)):
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


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[str]:
    """The product on the database at `url`; yields its address."""
    folder = Path(tempfile.mkdtemp(prefix="ssh-"))
    try:
        settings = {
            "DATABASE_URL": url,
            "OPENAI_API_KEY": "",
            "OPENAI_BASE_URL": "",
            "SMART_SUPPORT_PORT": "0",
            "SMART_SUPPORT_SECRET_KEY": KEY,
            "SMART_SUPPORT_REST_LIMIT": "1000000/minute",
            "SMART_SUPPORT_ABANDON_AFTER": "999999999",  # nothing changes while we look
        }
        async with product(folder, settings, cpus(pinned=False)[0]) as (_, address):
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_COLUMNS = ("page", "KiB", "lookup", "database alone", "x", "over HTTP", "x")


def shown(rows: Sequence[Row]) -> str:
    """The rows in columns: median and 95th percentile in milliseconds, then the multiples."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        alone = (_both(row.alone), digits(row.ratio(row.alone))) if row.alone else ("", "")
        lines.append(
            (
                row.name,
                digits(row.body / 1024),
                _both(row.floor),
                *alone,
                _both(row.rest),
                digits(row.ratio(row.rest)),
            )
        )
    table = [_COLUMNS, *lines]
    widths = [max(len(line[place]) for line in table) for place in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    )


def _both(samples: Sequence[float]) -> str:
    return f"{digits(at(samples, 0.5))} / {digits(at(samples, 0.95))}"


def flatness(small: Sequence[Row], large: Sequence[Row]) -> str:
    """How much longer each page takes with all of the data than with a tenth, at the median."""
    grown = {
        row.name: at(row.rest, 0.5) / at(before.rest, 0.5)
        for before, row in zip(small, large, strict=True)
    }
    worst = max(grown, key=lambda name: grown[name])
    middle = sorted(grown.values())[len(grown) // 2]
    return (
        f"With ten times the data a page takes {digits(middle)} times as long in the middle,"
        f" at most {digits(grown[worst])} times ({worst})."
    )


async def run(size: int, rounds: int, folder: Path) -> list[list[Row]]:
    """Fill a database with a tenth of `size` events, measure, fill it up, measure again."""
    options = {**FAST, "max_wal_size": "8GB", "autovacuum": "off"}  # VACUUM is asked for
    found = []
    async with embedded_postgres(folder, options=options) as url:
        await migrate(url)
        engine = open_engine(url, statement_timeout=60)
        try:
            end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            teller = Teller(url, sessions(engine), end=end)
            await teller.tell()
        finally:
            await engine.dispose()
        for events in (size // 10, size):
            began = time.monotonic()
            years = await teller.grow(events)
            if wrong := await check(url):
                raise RuntimeError(f"the data is not as it should be: {wrong}")
            say(
                f"\n{years.events:,} events of {years.turns:,} turns in {years.threads:,}"
                f" conversations, made up in {time.monotonic() - began:.0f} s"
            )
            async with serving(url) as address:
                found.append(await measure(url, address, years, rounds=rounds))
            say(shown(found[-1]))
    return found


async def main(arguments: argparse.Namespace) -> None:
    """Measure, print the tables, write the JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    now, load, began = datetime.now(UTC), os.getloadavg()[0], time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ssy-"))  # short, as the path of a socket must be
    try:
        async with interruptible():
            found = await run(int(arguments.size * 1_000_000), arguments.rounds, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    say(f"\n{flatness(*found)}")
    late = [f"{row.name} ({digits(row.ratio(row.rest))})" for row in found[-1] if not row.kept]
    said = f"Beyond {MOST:.0f} lookups over HTTP: {', '.join(late)}." if late else "All are within"
    say(said if late else f"{said} {MOST:.0f} lookups over HTTP.")
    say(f"Milliseconds: median / 95th percentile of {arguments.rounds}; x: the latter in lookups.")
    say(
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, load average {load:.2f} before"
        f", {os.getloadavg()[0]:.2f} after; {seconds:.0f} s"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"history-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(
        json.dumps(
            {
                "at": now.isoformat(timespec="seconds"),
                "seconds": round(seconds, 1),
                "machine": machine(),
                "sizes": [[asdict(row) for row in rows] for rows in found],
            }
        )
        + "\n"
    )
    say(f"Written to {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument(
        "--size", type=float, default=10.0, help="millions of events; a tenth is measured as well"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that a page is asked for")
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".benchmarks", help="folder for the JSON"
    )
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parse()))
