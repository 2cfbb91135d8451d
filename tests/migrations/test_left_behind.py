"""What a release has no use for, and leaves to servers of the one before that run beside it.

A migration of the release after takes it away (decision 14); whoever begins that release raises
the version, and finds here what there is to do.
"""

from collections.abc import Callable

import psycopg

from smart_support import __version__

LEFT_BEHIND: dict[str, dict[str, str]] = {
    "0.1.0": {
        "table episodes": "conversation_episodes has how conversations stand (0017)",
        "table episode_figures": "conversation_hours has their figures (0017)",
        "table figures_hourly": "figure_sums has the sums (0017)",
        "table trouble_readings": "conversation_trouble_readings has how far was read (0017)",
        "table troubles": "conversation_troubles has what went wrong (0017)",
        "index ix_conversation_episodes_opened_at": "ix_conversation_episodes_newest serves (0022)",
        "index ix_conversation_troubles_before": "ix_conversation_troubles_carried serves (0022)",
        "index ix_conversation_hours_hour": "ix_conversation_hours_day_keys serves (0023)",
    },
}
"""The release that uses it no more -> what it is -> why nobody needs it.

Beside 0.1.0's tables goes `PostgresConversationTracker.complete_titles`, which fills in what
servers of the release before store without it."""


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def overdue(current: str) -> dict[str, str]:
    """What a release before `current` has left behind for this one to take away."""
    return {
        what: why
        for version, things in LEFT_BEHIND.items()
        if number(version) < number(current)
        for what, why in things.items()
    }


def test_nothing_stays_longer_than_for_one_release() -> None:
    """Write a migration that takes these away, here and in their `tables.py`, and delete them here.

    Indexes go, and come back on the way down, as in `0021_unused_search_index.py`.
    """
    assert overdue(__version__) == {}


def test_it_is_the_next_release_that_has_to() -> None:
    assert overdue("0.1.0") == {}
    assert "index ix_conversation_troubles_before" in overdue("0.1.1")


def test_what_is_left_behind_is_there_still(migrated_database: Callable[[], str]) -> None:
    """An entry that is done with is deleted."""
    with psycopg.connect(migrated_database()) as connection:
        rows = connection.execute(
            "SELECT CASE relkind WHEN 'r' THEN 'table ' ELSE 'index ' END || relname FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')"
        ).fetchall()

    assert {what for things in LEFT_BEHIND.values() for what in things} <= {row[0] for row in rows}
