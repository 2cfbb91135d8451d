"""Each process is replaced while customers talk: nobody loses anything, and clients come back.

`HYPOTHESIS_PROFILE=soak` does it under 200 conversations; a normal run under 20.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.faults.test_kills import Company, Model, environment, noted, now
from tests.support.fleet import Customer, fleet
from tests.support.history import check
from tests.support.model_endpoint import ModelEndpoint
from tests.support.server import settings_of
from tests.support.turns import ADA, import_shop

from smart_support.app.keys import tokens_of
from smart_support.conversations.postgres import PostgresConversations
from smart_support.database.engine import open_engine, sessions
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import ToolReturned, TurnClosed
from smart_support.operations.postgres import PostgresOperations

SOAK = settings.get_current_profile_name() == "soak"
CHATS = 200 if SOAK else 20
PROCESSES = 2
AT_LEAST = 2
"""Messages of each customer, however quickly it is over."""

KINDS = ("note", "order", "say")
RECONNECT, LATER = 1012, 1013


def texts(customer: int, over: asyncio.Event) -> Iterator[str]:
    """What this customer writes, as long as processes are being replaced; no text comes twice."""
    number = 0
    while number < AT_LEAST or not over.is_set():
        yield f"{KINDS[(number + customer) % 3]} {number} of {customer:03d}"
        number += 1


@pytest.mark.timeout(1_200 if SOAK else 300)
async def test_nothing_is_lost_while_every_process_is_replaced_under_load(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    url, chance, over = migrated_database(), random.Random(9), asyncio.Event()
    engine = open_engine(url)
    connected = sessions(engine)
    log = PostgresEventLog(connected)
    conversations = PostgresConversations(connected, owner=1)
    customers: list[Customer] = []
    async with ModelEndpoint(respond=Model(chance)) as model, Company(chance) as company:
        await import_shop(PostgresOperations(connected), company.base_url)
        async with fleet(PROCESSES, environment(url, model, tmp_path)) as ours:
            token = tokens_of(settings_of()).issue(ADA, now=now(), ttl=36_000)
            for number in range(CHATS):
                thread_id = f"01900000-0000-7000-8000-{number:012d}"
                await conversations.open_thread(
                    thread_id, customer_id=ADA.id, customer_name=ADA.name, customer_email=None
                )
                # They stay connected until they are told to come back.
                patient = (100_000,)
                customers.append(
                    Customer(
                        ours.address, token, thread_id, random.Random(number), patience=patient
                    )
                )

            async def roll() -> list[int | None]:
                async with asyncio.timeout(120):
                    while sum(customer.ended for customer in customers) < CHATS:
                        await asyncio.sleep(0.05)
                try:
                    return await ours.roll()
                finally:
                    over.set()

            ends, *_ = await asyncio.gather(
                roll(),
                *(customer.talk(texts(number, over)) for number, customer in enumerate(customers)),
            )
            for customer in customers:
                await customer.catch_up()
        effects = company.effects()
    problems, counted = [], Counter[str]()
    for customer in customers:
        events = await log.read(customer.thread_id)
        mine = customer.thread_id[-3:]
        problems += check(
            events,
            acknowledged=customer.acknowledged,
            seen=[customer.shown],
            effects={note: times for note, times in effects.items() if note.endswith(mine)},
            names=noted,
        )
        counted.update(
            getattr(event.fact, {TurnClosed: "status", ToolReturned: "outcome"}[type(event.fact)])
            if isinstance(event.fact, TurnClosed | ToolReturned)
            else event.fact.type
            for event in events
        )
    await engine.dispose()
    codes = sum((customer.codes for customer in customers), Counter[int]())
    print(f"ends {ends}, closed with {dict(codes)}: {dict(counted)}")  # noqa: T201
    assert problems == []
    assert ends == [0] * PROCESSES
    # They were told to come back, and nothing else: anew, or since they read too slowly.
    assert codes[RECONNECT] > 0
    assert set(codes) <= {RECONNECT, LATER}
    # Not one turn failed, and the outcome of not one call is unknown.
    assert counted["failed"] == counted["cancelled"] == counted["unknown"] == 0
    assert sum(len(customer.acknowledged) for customer in customers) == counted["turn_opened"]
