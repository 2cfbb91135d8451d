"""Troubles: what is one, when it is over, which look the same, and what is odd."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.consumers import PostgresLogs
from tests.support.histories import (
    BEGINNING,
    answered,
    attempt,
    batches,
    called,
    closed,
    companies,
    events_of,
    message,
    opened,
    returned,
    thread_id,
)

from smart_support.analytics.records import floor
from smart_support.analytics.troubles import (
    LEAST_ODD,
    Reading,
    Recovered,
    Trouble,
    Which,
    fingerprint_of,
    is_odd,
    read,
    restored,
    upstream_of,
)
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.database.engine import sessions as sessions_on
from smart_support.errors import InvalidInput
from smart_support.events.consumer import EventGap
from smart_support.events.records import Event, Fact

ONE, TWO = thread_id(1), thread_id(2)
HOUR = timedelta(hours=1)
START, END = BEGINNING - HOUR, BEGINNING + 2 * HOUR
SHOP = "GET http://ada:pw@shop.test:8080/orders/7"


def refused(number: int = 1, status: int | None = 503, error: str = "HTTPStatusError: 7") -> Fact:
    return replace(
        attempt(number=number),
        outcome="rejected",
        status=status,
        category="retryable" if status else "timeout",
        request=SHOP,
        error=error,
    )


def failed(code: str = "MODEL_UNAVAILABLE", turn: str = "t1") -> list[Fact]:
    return [message(turn), opened(turn), closed(turn, status="failed", code=code)]


def told(facts: Sequence[Fact]) -> list[Trouble | Recovered]:
    return list(read(Reading(), events_of(ONE, facts)))


class TestReading:
    def test_a_failed_turn_is_over_with_the_next_that_is_answered(self) -> None:
        trouble, over = told([*failed(), *answered("t2")])

        assert isinstance(trouble, Trouble)
        assert (trouble.kind, trouble.code, trouble.agent) == (
            "turn",
            "MODEL_UNAVAILABLE",
            "support",
        )
        assert trouble.correlation_id == "c"
        assert over == Recovered((3,), BEGINNING + timedelta(seconds=6))

    def test_an_attempt_is_over_when_its_call_is_done(self) -> None:
        trouble, over = told([opened(), called(), refused(), attempt(number=2), returned()])

        assert isinstance(trouble, Trouble)
        assert (trouble.kind, trouble.code) == ("attempt", "API_UNAVAILABLE")
        assert (trouble.operation, trouble.upstream) == ("getOrder", "shop.test:8080")
        assert over == Recovered((3,), BEGINNING + timedelta(seconds=4))

    def test_a_call_is_over_with_the_next_of_the_same_operation_that_is_done(self) -> None:
        first = [called(), refused(), returned(outcome="failed")]
        other = [called(call="c2", operation="cancel"), returned(call="c2")]
        same = [called(call="c3"), returned(call="c3")]

        found = told([opened(), *first, *other, *same])

        troubles = [each for each in found if isinstance(each, Trouble)]
        over = [each for each in found if isinstance(each, Recovered)]
        assert [each.kind for each in troubles] == ["attempt", "call"]
        assert [each.seqs for each in over] == [(4,)]  # the call; its attempt never was

    def test_what_is_unknown_is_never_taken_for_done(self) -> None:
        (trouble,) = told([opened(), called(), returned(outcome="unknown")])

        assert isinstance(trouble, Trouble)
        assert trouble.code == "TOOL_OUTCOME_UNKNOWN"

    def test_what_a_customer_wanted_so_is_no_trouble(self) -> None:
        assert told([opened(), called(), returned(outcome="declined")]) == []
        assert told([opened(), closed(status="cancelled")]) == []

    @given(log=companies().flatmap(st.sampled_from), data=st.data())
    def test_can_stop_and_go_on_anywhere(self, log: list[Event], data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(log)))
        whole, reading = list(read(Reading(), log)), Reading()

        first = list(read(reading, log[:cut]))
        again = restored(reading.plain())

        assert first + list(read(again, log[cut:])) == whole

    @given(log=companies().flatmap(st.sampled_from))
    def test_each_trouble_is_over_at_most_once(self, log: list[Event]) -> None:
        found = list(read(Reading(), log))

        over = [seq for each in found if isinstance(each, Recovered) for seq in each.seqs]
        assert len(over) == len(set(over))
        assert set(over) <= {each.seq for each in found if isinstance(each, Trouble)}


@pytest.mark.parametrize(
    ("request_line", "upstream"),
    [
        (SHOP, "shop.test:8080"),
        ("POST https://x.test/a?b=c", "x.test"),
        ("GET /orders/7", "unknown"),
        ("", "unknown"),
        ("GET http://[::1", "unknown"),
    ],
)
def test_the_upstream_is_host_and_port_without_credentials(
    request_line: str, upstream: str
) -> None:
    assert upstream_of(request_line) == upstream


def test_errors_that_differ_in_numbers_and_ids_look_the_same() -> None:
    same = {
        fingerprint_of("attempt", "API_TIMEOUT", "getOrder", text)
        for text in (
            "ReadTimeout: order 1001 after 10.0 s",
            "ReadTimeout: order 7 after 9 s",
        )
    }

    assert len(same) == 1
    assert fingerprint_of("attempt", "API_TIMEOUT", "getOrder", "ConnectError") not in same
    assert fingerprint_of("attempt", "API_TIMEOUT", "cancel", "ReadTimeout: #") not in same


@given(text=st.text(max_size=200))
def test_every_text_has_a_fingerprint(text: str) -> None:
    assert len(fingerprint_of("turn", "X", None, text)) == 12


@given(usual=st.floats(0, 1_000), troubles=st.integers(0, 5_000))
def test_more_is_never_less_odd(usual: float, troubles: int) -> None:
    assert not (is_odd(troubles, usual) and not is_odd(troubles + 1, usual))
    assert not is_odd(round(usual), usual)
    assert not is_odd(LEAST_ODD - 1, 0.0)


@pytest.fixture
def troubles(engine: AsyncEngine) -> PostgresTroubles:
    return PostgresTroubles(sessions_on(engine))


class TestKept:
    async def test_takes_in_each_event_once_and_none_after_a_gap(
        self, troubles: PostgresTroubles
    ) -> None:
        log = events_of(ONE, [*failed(), *answered("t2")])

        await troubles.apply({ONE: log[:3]})
        await troubles.apply({ONE: log[1:3]})
        with pytest.raises(EventGap):
            await troubles.apply({ONE: log[5:]})
        await troubles.apply({ONE: log})
        await troubles.apply({ONE: []})

        assert (await troubles.applied([ONE]))[ONE] == len(log)
        assert (await troubles.summary(START, END)).total.troubles == 1

    async def test_knows_what_it_is_behind_and_rebuilds(
        self, troubles: PostgresTroubles, engine: AsyncEngine
    ) -> None:
        logs = PostgresLogs(engine)
        await logs.open(ONE)
        await logs.write(events_of(ONE, failed()))

        assert await troubles.behind(10) == [ONE]
        await troubles.rebuild(ONE)
        await troubles.rebuild(ONE)
        assert await troubles.behind(10) == []
        assert (await troubles.summary(START, END)).total.troubles == 1
        await logs.drop(ONE)
        await troubles.rebuild(ONE)
        assert (await troubles.applied([ONE]))[ONE] == 0
        assert (await troubles.summary(START, END)).total.troubles == 0

    async def test_counts_by_everything_it_knows(self, troubles: PostgresTroubles) -> None:
        facts = [
            opened(),
            called(),
            refused(1),
            refused(2, None, "ReadTimeout: 9"),
            attempt(number=3),
            returned(),
            closed(),
            *failed(turn="t2"),
        ]
        await troubles.apply({ONE: events_of(ONE, facts)})
        await troubles.apply({TWO: events_of(TWO, failed("CONV_TURN_TIMEOUT"))})

        found = await troubles.summary(START, END)

        assert (found.total.troubles, found.total.recovered) == (4, 2)
        assert found.total.mean_recovery_ms == pytest.approx(2_500)
        assert {each.name: each.troubles for each in found.by_code} == {
            "API_UNAVAILABLE": 1,
            "API_TIMEOUT": 1,
            "MODEL_UNAVAILABLE": 1,
            "CONV_TURN_TIMEOUT": 1,
        }
        assert [(each.name, each.troubles) for each in found.by_operation] == [("getOrder", 2)]
        assert [each.name for each in found.by_upstream] == ["shop.test:8080"]
        assert [(each.name, each.troubles) for each in found.by_agent] == [("support", 4)]
        assert sum(each.troubles for each in found.hours) == 4
        assert len(found.patterns) == 4

    async def test_lists_the_conversations_behind_a_number(
        self, troubles: PostgresTroubles
    ) -> None:
        for number in range(1, 6):
            name = thread_id(number)
            await troubles.apply({name: events_of(name, failed())})
        await troubles.apply({thread_id(6): events_of(thread_id(6), failed("CONV_TURN_TIMEOUT"))})
        which = Which(start=START, end=END, code="MODEL_UNAVAILABLE")

        first = await troubles.conversations(which, limit=3)
        rest = await troubles.conversations(which, after=first[-1].thread_id, limit=3)

        assert [each.thread_id for each in (*first, *rest)] == [
            thread_id(number) for number in (5, 4, 3, 2, 1)
        ]
        [pattern] = [
            each
            for each in (await troubles.summary(START, END)).patterns
            if each.code == "CONV_TURN_TIMEOUT"
        ]
        alone = Which(start=START, end=END, fingerprint=pattern.fingerprint)
        assert len(await troubles.conversations(alone)) == pattern.conversations == 1

    async def test_an_hour_is_odd_against_the_same_hour_of_other_days(
        self, troubles: PostgresTroubles
    ) -> None:
        noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
        number = 0
        for day, times in [(0, 9), *((day, 1) for day in range(1, 8))]:
            for _ in range(times):
                number += 1
                name = thread_id(number)
                at = noon - timedelta(days=day) + timedelta(minutes=1)
                await troubles.apply({name: events_of(name, failed(), at)})

        hours = (await troubles.summary(noon - HOUR, noon + HOUR)).hours

        assert [(hour.troubles, hour.usual, hour.odd) for hour in hours] == [
            (0, 0.0, False),
            (9, 1.0, True),
        ]

    async def test_counts_each_conversation_of_a_pattern_once_in_any_range(
        self, troubles: PostgresTroubles, engine: AsyncEngine
    ) -> None:
        chance, start = random.Random(5), floor(START, "hour")
        spans = [(0, 48), (1, 2), (3, 30), (24, 25), (10, 11), (20, 47)]
        codes = ("MODEL_UNAVAILABLE", "CONV_TURN_TIMEOUT")
        for number in range(1, 13):
            name, at = thread_id(number), start
            log: list[Event] = []
            for turn in range(chance.randint(1, 9)):
                at += timedelta(minutes=chance.choice((1, 20, 61, 300)))
                for fact in failed(chance.choice(codes), turn=f"t{turn}"):
                    log.append(Event(name, len(log) + 1, at, fact))
            for end in sorted({chance.randint(1, len(log)), len(log)}):
                await troubles.apply({name: log[:end]})

        for first, last in spans:
            span = {"start": start + first * HOUR, "end": start + last * HOUR}
            found = await troubles.summary(**span)
            async with engine.connect() as connection:
                rows = await connection.execute(
                    sa.text(
                        "SELECT fingerprint, count(*), count(DISTINCT thread_id), min(at), max(at)"
                        " FROM conversation_troubles WHERE at >= :start AND at < :end GROUP BY 1"
                    ),
                    span,
                )
                expected = {tuple(row) for row in rows}
            assert expected == {
                (each.fingerprint, each.troubles, each.conversations, each.first_at, each.last_at)
                for each in found.patterns
            }

    async def test_of_months_only_the_odd_hours_are_told(self, troubles: PostgresTroubles) -> None:
        for number in range(1, 10):
            name, at = thread_id(number), START + timedelta(days=60, minutes=number)
            await troubles.apply({name: events_of(name, failed(), at if number < 9 else START)})

        found = await troubles.summary(START, START + timedelta(days=90))

        assert found.total.troubles == 9
        assert [(hour.start, hour.troubles, hour.odd) for hour in found.hours] == [
            (floor(START + timedelta(days=60), "hour"), 8, True)
        ]

    async def test_refuses_a_range_that_is_none(self, troubles: PostgresTroubles) -> None:
        for start, end in ((END, START), (START, START + timedelta(days=401))):
            with pytest.raises(InvalidInput):
                await troubles.summary(start, end)

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    async def test_in_pieces_or_at_once_it_is_the_same(
        self, engine: AsyncEngine, data: st.DataObject
    ) -> None:
        troubles, logs = PostgresTroubles(sessions_on(engine)), PostgresLogs(engine)
        await logs.clear()
        for log in data.draw(companies()):
            await logs.open(log[0].thread_id)
            await logs.write(log)
            for piece in data.draw(batches(log)):
                await troubles.apply({log[0].thread_id: piece})
            start, end = log[0].at, log[-1].at + HOUR
            kept = await troubles.summary(start, min(end, start + timedelta(days=20)))
            await troubles.rebuild(log[0].thread_id)
            again = await troubles.summary(start, min(end, start + timedelta(days=20)))
            assert kept == again
