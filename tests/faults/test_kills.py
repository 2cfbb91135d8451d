"""Processes are killed at moments of chance, under load: nothing is lost, doubled, or silent.

`HYPOTHESIS_PROFILE=soak` kills 300 times under 32 clients; a normal run 20 times under 8.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from pydantic import SecretStr
from tests.support.fleet import Customer, fleet, keep_killing
from tests.support.history import check
from tests.support.model_endpoint import (
    ModelEndpoint,
    Received,
    Script,
    calls,
    says,
    stalled,
)
from tests.support.server import KEY, settings_of
from tests.support.turns import ADA, import_shop
from tests.support.upstream import Request, Upstream, answers

from smart_support.app.keys import tokens_of
from smart_support.conversations.postgres import PostgresConversations
from smart_support.database.engine import open_engine, sessions
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import ToolCalled, TurnClosed
from smart_support.operations.postgres import PostgresOperations
from smart_support.settings import Settings

SOAK = settings.get_current_profile_name() == "soak"
KILLS, CLIENTS, MESSAGES, WORKERS = (300, 32, 120, 4) if SOAK else (20, 8, 7, 3)
SEED = int(os.environ.get("KILL_SEED", "1"))


class Model:
    """Leaves a note or looks an order up when asked to, and says so; slowly enough to be killed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __call__(self, request: Received) -> Script:
        messages: list[dict[str, Any]] = request.body["messages"]
        place = max(n for n, message in enumerate(messages) if message["role"] == "user")
        text = str(messages[place]["content"])
        done = sum(message["role"] == "tool" for message in messages[place:])
        if text.startswith("note") and done == 0:
            return self._slow(calls(("addNote", {"body": {"text": text}}), text="One moment."))
        if text.startswith("order") and done == 0:
            return self._slow(calls(("getOrder", {"order_id": text})))
        return self._slow(says(f"This is the answer to {text}, in a few words."))

    def _slow(self, script: Script) -> Script:
        until = asyncio.Event()
        asyncio.get_running_loop().call_later(self._chance.uniform(0.0, 0.4), until.set)
        return stalled(script, until, after=self._chance.randrange(1, 6))


class Company(Upstream):
    """Notes each note that arrives whole, and then takes its time to answer."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def _choose(self, path: str) -> Any:
        until = asyncio.Event()
        asyncio.get_running_loop().call_later(self._chance.uniform(0.0, 0.3), until.set)
        answer = answers({"ok": True})
        return type(answer)((until, *answer.pieces))

    def effects(self) -> Counter[str]:
        """How often each note was left."""
        return Counter(_text(request) for request in self.sent("POST"))


def _text(request: Request) -> str:
    return str(request.body["text"])


def noted(called: ToolCalled) -> str | None:
    return str(called.arguments["body"]["text"]) if called.tool == "addNote" else None


@pytest.mark.timeout(7_200 if SOAK else 300)
async def test_nothing_is_lost_or_doubled_however_often_processes_are_killed(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    url, chance = migrated_database(), random.Random(SEED)
    engine = open_engine(url)
    connected = sessions(engine)
    log = PostgresEventLog(connected)
    conversations = PostgresConversations(connected, owner=1)
    async with ModelEndpoint(respond=Model(chance)) as model, Company(chance) as company:
        await import_shop(PostgresOperations(connected), company.base_url)
        customers = []
        async with fleet(WORKERS, environment(url, model, tmp_path)) as ours:
            token = tokens_of(settings_of()).issue(ADA, now=now(), ttl=36_000)
            for number in range(CLIENTS):
                thread_id = f"01900000-0000-7000-8000-{number:012d}"
                await conversations.open_thread(
                    thread_id, customer_id=ADA.id, customer_name=ADA.name, customer_email=None
                )
                own = random.Random(SEED * 1_000 + number)
                customers.append(Customer(ours.address, token, thread_id, own))
            talking = [
                asyncio.create_task(customer.talk(texts(number)))
                for number, customer in enumerate(customers)
            ]
            killing = asyncio.create_task(
                keep_killing(ours, KILLS, chance, lambda: chance.uniform(0.1, 0.8))
            )
            await asyncio.gather(*talking, killing)
            for customer in customers:
                await customer.catch_up()
            kills = ours.kills
        effects = company.effects()
    problems = []
    counted: Counter[str] = Counter()
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
            event.fact.status if isinstance(event.fact, TurnClosed) else event.fact.type
            for event in events
        )
    await engine.dispose()
    print(f"{kills} kills, {sum(c.drops for c in customers)} drops: {dict(counted)}")  # noqa: T201
    assert problems == []
    assert kills == KILLS
    assert counted["turn_taken_over"] > 0


def texts(customer: int) -> list[str]:
    """What this customer writes: each text is used once in the whole run."""
    kinds = ("note", "order", "say")
    return [f"{kinds[n % 3]} {n} of {customer:03d}" for n in range(MESSAGES)]


def environment(url: str, model: ModelEndpoint, folder: Path) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in ours} | {
        "DATABASE_URL": url,
        "OPENAI_API_KEY": SecretStr("sk-test").get_secret_value(),
        "OPENAI_BASE_URL": model.base_url,
        "SMART_SUPPORT_DATA_DIR": str(folder),
        "SMART_SUPPORT_SECRET_KEY": KEY,
        "SMART_SUPPORT_WORKERS": str(WORKERS),
        "SMART_SUPPORT_MESSAGE_LIMIT": "1000",
        "SMART_SUPPORT_SOCKETS_PER_PERSON": "1000",
        "SMART_SUPPORT_TOOL_ALLOWED_HOSTS": "127.0.0.1",
    }


def now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
