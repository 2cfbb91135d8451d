"""What the release before has counted is taken over exactly, and servers of both may count on."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.analytics.test_sums import made_up
from tests.migrations.test_migrations import move, scripts
from tests.support.consumers import PostgresLogs
from tests.support.sums import counted_sums, kept_sums

from smart_support.analytics.listings import DIVIDED, SUMMED
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.sums import keys_of
from smart_support.analytics.tables import conversation_tables, episode_figures
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.chat.derive import Derivation
from smart_support.conversations.postgres import PostgresConversationTracker
from smart_support.database.engine import open_engine, sessions
from smart_support.database.schema import migrations_folder
from smart_support.events.postgres import PostgresEventLog

# As the release before keeps it: what is new today, in the rows of then.
_AS_BEFORE = """
INSERT INTO episodes SELECT * FROM conversation_episodes;
INSERT INTO episode_figures
SELECT thread_id, hour, regexp_replace(f.key, ' amount$', ''), d.key,
       coalesce(sum(d.value::bigint) FILTER (WHERE f.key NOT LIKE '% amount'), 0),
       coalesce(sum(d.value::bigint) FILTER (WHERE f.key LIKE '% amount'), 0)
FROM conversation_hours CROSS JOIN LATERAL jsonb_each(figures) f
CROSS JOIN LATERAL jsonb_each(f.value) d GROUP BY 1, 2, 3, 4;
INSERT INTO trouble_readings SELECT * FROM conversation_trouble_readings;
INSERT INTO troubles SELECT thread_id, seq, at, turn_id, kind, code, operation, upstream, agent,
       correlation_id, fingerprint, recovered_at FROM conversation_troubles
"""


LISTED = {figure.value for summed in SUMMED.values() for figure in summed.figures}
NARROWED = {figure.value for figure in DIVIDED}


async def rows(engine: AsyncEngine) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    async with engine.connect() as connection:
        for table in conversation_tables:
            columns = [column for column in table.c if column is not episode_figures.c["keys"]]
            result: Any = await connection.execute(sa.select(*columns))
            found[table.name] = {str(tuple(row)) for row in result}
    return found


async def keys(engine: AsyncEngine) -> list[tuple[set[str], set[str]]]:
    """Under which names each row is found, and under which its figures ought to be."""
    row = episode_figures.c
    async with engine.connect() as connection:
        found = await connection.execute(sa.select(row["keys"], row.figures))
        return [(set(stored), set(keys_of(figures))) for stored, figures in found]


async def test_what_was_counted_before_is_taken_over_and_the_rest_read_from_the_logs(
    migrated_database: Callable[[], str],
) -> None:
    url, chance = migrated_database(), random.Random(3)
    engine = open_engine(url)
    on, logs = sessions(engine), PostgresLogs(engine)
    recorder, troubles = PostgresAnalyticsRecorder(on), PostgresTroubles(on)
    every = [made_up(chance, number) for number in range(1, 9)]
    for log in every:
        await logs.open(log[0].thread_id)
        await logs.write(log)
        for consumer in (recorder, troubles):
            await consumer.apply({log[0].thread_id: log[: len(log) // 2]})
    before, sums = await rows(engine), await kept_sums(on)
    async with engine.begin() as connection:
        for statement in _AS_BEFORE.split(";"):
            await connection.execute(sa.text(statement))
    await engine.dispose()

    folder = migrations_folder()
    order = [script.revision for script in scripts(folder)]
    ours = next(each for each in scripts(folder) if hasattr(each.module, "SUMS")).revision
    await asyncio.to_thread(move, url, folder, order[order.index(ours) - 1])
    await asyncio.to_thread(move, url, folder, order[-1])

    engine = open_engine(url)
    on = sessions(engine)
    try:
        assert await rows(engine) == before
        for stored, wanted in await keys(engine):
            assert stored >= wanted
            # The copy has names more, which nobody looks for any more: a list has none of them.
            assert not {key for key in stored - wanted if "/" not in key} & LISTED
            assert not {key.partition("/")[0] for key in stored - wanted} & NARROWED
        assert await kept_sums(on) == sums != {}
        consumers = (
            PostgresConversationTracker(on),
            PostgresAnalyticsRecorder(on),
            PostgresTroubles(on),
        )
        await Derivation(PostgresEventLog(on), consumers).sweep()
        assert await kept_sums(on) == counted_sums(every)
    finally:
        await engine.dispose()
