"""The sums that are kept, and what a full recount finds: they must be the same."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from smart_support.analytics.episode import Key, Sum, cohort_part, tally
from smart_support.analytics.sums import flat, named_hour
from smart_support.analytics.tables import figure_changes, figure_sums
from smart_support.analytics.troubles import (
    PATTERN,
    PATTERN_CONVERSATIONS,
    Reading,
    Recovered,
    Trouble,
    read,
)
from smart_support.database import Sessions
from smart_support.database.schema import migrations_folder
from smart_support.events.records import Event

Sums = dict[tuple[str, str, Key], Sum]
"""By kind and bucket; a day is a key whose hour is its first."""


async def kept_sums(sessions: Sessions) -> Sums:
    """What is kept: the sums, and the changes that are not in them yet."""
    found: defaultdict[tuple[str, str, Key], list[int]] = defaultdict(lambda: [0, 0])
    async with sessions() as session:
        for row in await session.execute(sa.select(figure_sums)):
            _add(found, row.kind, row.bucket, flat({row.start: row.figures}))
        for changes in await session.scalars(sa.select(figure_changes.c.changes)):
            for kind, hours in changes.items():
                counted = flat({named_hour(name): counts for name, counts in hours.items()})
                _add(found, kind, "hour", counted)
                _add_days(found, kind, counted)
    return {place: Sum(*counted) for place, counted in found.items() if any(counted)}


def counted_sums(logs: Iterable[list[Event]]) -> Sums:
    """The same from nothing but the logs, each read from its beginning."""
    found: defaultdict[tuple[str, str, Key], list[int]] = defaultdict(lambda: [0, 0])
    for log in logs:
        episode = tally(None, log)
        parts: dict[str, Mapping[Key, Sum]] = {
            "activity": episode.counted if episode else {},
            "cohort": cohort_part(episode),
            "troubles": _troubles(log),
        }
        for kind, counted in parts.items():
            _add(found, kind, "hour", counted)
            _add_days(found, kind, counted)
    return {place: Sum(*counted) for place, counted in found.items() if any(counted)}


def sums_statement() -> str:
    """The statement with which the database began to keep sums: it counts everything anew."""
    scripts = ScriptDirectory(str(migrations_folder())).walk_revisions()
    return str(next(each.module.SUMS for each in scripts if hasattr(each.module, "SUMS")))


async def recount(sessions: Sessions) -> None:
    """Make the sums anew."""
    async with sessions.begin() as session:
        await session.execute(sa.text("TRUNCATE figure_sums, figure_changes"))
        await session.execute(sa.text(sums_statement()))


def _troubles(log: list[Event]) -> dict[Key, Sum]:
    """What the troubles of one thread count, written down once more and differently."""
    found: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0])
    troubles: dict[int, Trouble] = {}
    over: dict[int, datetime] = {}
    for each in read(Reading(), log):
        if isinstance(each, Trouble):
            troubles[each.seq] = each
        elif isinstance(each, Recovered):
            over |= dict.fromkeys(each.seqs, each.at)
    known: set[str] = set()
    for seq, trouble in troubles.items():
        hour = trouble.at.replace(minute=0, second=0, microsecond=0)

        def count(figure: str, name: str | None, amount: int = 0, hour: datetime = hour) -> None:
            if name is not None:
                found[Key(hour, figure, name)][0] += 1
                found[Key(hour, figure, name)][1] += amount

        count(PATTERN, trouble.fingerprint)
        count("hour of day", f"{hour.hour:02}")
        if trouble.fingerprint not in known:
            count(PATTERN_CONVERSATIONS, trouble.fingerprint)
        known.add(trouble.fingerprint)
        names = {
            "all": "",
            "code": trouble.code,
            "operation": trouble.operation,
            "upstream": trouble.upstream,
            "agent": trouble.agent,
        }
        for figure, name in names.items():
            count(figure, name)
            if seq in over:
                count(
                    f"{figure} recovered",
                    name,
                    round((over[seq] - trouble.at).total_seconds() * 1e6),
                )
    return {key: Sum(*counted) for key, counted in found.items()}


def _add(
    found: defaultdict[tuple[str, str, Key], list[int]],
    kind: str,
    bucket: str,
    counted: Mapping[Key, Sum],
) -> None:
    for key, (times, amount) in counted.items():
        place = found[kind, bucket, key]
        place[0] += times
        place[1] += amount


def _add_days(
    found: defaultdict[tuple[str, str, Key], list[int]], kind: str, counted: Mapping[Key, Sum]
) -> None:
    for key, one in counted.items():
        _add(found, kind, "day", {key._replace(hour=key.hour.replace(hour=0)): one})
