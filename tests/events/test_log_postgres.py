"""The log: numbered without gaps, in order, and able to hold any text."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.histories import (
    abandoned,
    answered,
    asked,
    attempt,
    called,
    closed,
    decided,
    finished,
    handoff,
    message,
    opened,
    parked,
    resolved,
    returned,
    thread_id,
)

from smart_support.database import Sessions
from smart_support.events.postgres import PostgresEventLog, append, open_log, storable
from smart_support.events.records import Fact, MessageReceived, fact_of, payload_of

ONE, TWO = thread_id(1), thread_id(2)
EVERY: list[Fact] = [
    message(),
    opened(),
    called(),
    attempt(),
    returned(),
    asked(),
    decided(),
    parked(),
    finished(),
    handoff(),
    closed(),
    resolved(),
    abandoned(),
]


@pytest.fixture
async def log(sessions: Sessions) -> PostgresEventLog:
    async with sessions.begin() as session:
        await open_log(session, ONE)
        await open_log(session, TWO)
    return PostgresEventLog(sessions)


async def test_keeps_every_kind_of_fact_as_it_was(log: PostgresEventLog) -> None:
    written = await log.append(ONE, EVERY)

    assert [event.fact for event in written] == EVERY
    assert await log.read(ONE) == written
    assert await log.last_seq(ONE) == len(EVERY)


async def test_numbers_have_no_gaps_however_many_write(log: PostgresEventLog) -> None:
    async def write(writer: int) -> None:
        for number in range(5):
            facts = [message(f"w{writer}-{number}-{place}") for place in range(writer % 3 + 1)]
            await log.append(ONE, facts)

    await asyncio.gather(*(write(writer) for writer in range(8)))

    events = await log.read(ONE)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    for writer in range(8):
        own = [
            event.fact.turn_id
            for event in events
            if isinstance(event.fact, MessageReceived)
            and event.fact.turn_id.startswith(f"w{writer}-")
        ]
        assert own == sorted(own)
        assert len(own) == 5 * (writer % 3 + 1)


async def test_facts_that_are_written_together_stand_together(log: PostgresEventLog) -> None:
    turns = [[message(f"t{n}"), opened(f"t{n}"), closed(f"t{n}")] for n in range(10)]

    await asyncio.gather(*(log.append(ONE, facts) for facts in turns))

    facts = [event.fact for event in await log.read(ONE)]
    assert sorted(map(str, (facts[at : at + 3] for at in range(0, 30, 3)))) == sorted(
        map(str, turns)
    )


async def test_a_number_that_was_not_committed_is_given_again(
    log: PostgresEventLog, sessions: Sessions
) -> None:
    async def lose() -> None:
        async with sessions.begin() as session:
            assert [event.seq for event in await append(session, ONE, [message()])] == [1]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lose()

    (event,) = await log.append(ONE, [message()])

    assert event.seq == 1
    assert await log.last_seq(ONE) == 1


async def test_threads_are_counted_by_themselves(log: PostgresEventLog) -> None:
    await log.append(ONE, answered("t1"))

    (event,) = await log.append(TWO, [message()])

    assert (event.thread_id, event.seq) == (TWO, 1)


async def test_a_thread_without_a_log_takes_nothing(log: PostgresEventLog) -> None:
    with pytest.raises(LookupError, match="no log"):
        await log.append(thread_id(3), [message()])

    assert await log.last_seq(thread_id(3)) == 0


async def test_nothing_is_nothing(log: PostgresEventLog) -> None:
    assert await log.append(ONE, []) == ()
    assert await log.read(ONE) == ()


async def test_opening_a_log_twice_keeps_it(log: PostgresEventLog, sessions: Sessions) -> None:
    await log.append(ONE, [message()])

    async with sessions.begin() as session:
        await open_log(session, ONE)

    assert await log.last_seq(ONE) == 1


async def test_is_read_in_pieces(log: PostgresEventLog) -> None:
    written = await log.append(ONE, EVERY)

    assert await log.read(ONE, after=3, limit=4) == written[3:7]
    assert await log.read(ONE, after=len(EVERY)) == ()


async def test_gives_the_newest_of_some_types_oldest_first(log: PostgresEventLog) -> None:
    written = await log.append(ONE, [*answered("t1"), *answered("t2"), *answered("t3")])
    wanted = [event for event in written if event.fact.type in {"message_received", "turn_closed"}]

    found = await log.read_turns(ONE, ["message_received", "turn_closed"], last=3)

    assert list(found) == wanted[-3:]


async def test_times_are_of_the_moment_and_never_go_back(log: PostgresEventLog) -> None:
    events = [event for _ in range(5) for event in await log.append(ONE, [message(), opened()])]

    times = [event.at for event in events]
    assert times == sorted(times)
    assert times[0].tzinfo is not None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\x00b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("x\udfffy", "x\ufffdy"),
        ("\ud83d\ude00", "\U0001f600"),
        ("żółw 🐢 \u2028", "żółw 🐢 \u2028"),
    ],
)
async def test_holds_any_text(log: PostgresEventLog, text: str, kept: str) -> None:
    odd = replace(called(), arguments={text: [text, {"in": text}, 1, None]})

    written = await log.append(ONE, [message(text=text), odd])

    assert await log.read(ONE) == written
    assert written[0].fact == message(text=kept)
    assert written[1].fact.arguments == {kept: [kept, {"in": kept}, 1, None]}  # type: ignore[union-attr]


@given(st.text(st.characters(codec=None)))
def test_what_is_storable_can_be_encoded_and_is_else_unchanged(text: str) -> None:
    kept = storable(text)

    kept.encode()
    assert "\x00" not in kept
    assert storable(kept) == kept
    if "\x00" not in text and text.isascii():
        assert kept == text


@pytest.mark.parametrize("fact", EVERY, ids=lambda fact: fact.type)
def test_a_payload_is_the_fact(fact: Fact) -> None:
    assert fact_of(fact.type, payload_of(fact)) == fact


def test_fields_of_a_newer_version_are_left_out() -> None:
    payload: dict[str, Any] = payload_of(message()) | {"colour": "blue"}

    assert fact_of("message_received", payload) == message()


def test_facts_of_a_newer_version_are_not_guessed() -> None:
    with pytest.raises(KeyError):
        fact_of("telepathy", {})
