"""`smart-support seed-demo`: months of believable conversations, made by the product itself.

Each one is really held: with a demo company of its own, the offline model, approvals, failures that
the company is told to have, handoffs. Afterwards it is moved to its day in the past.
"""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from smart_support.api.parts import Parts
from smart_support.app.database import open_database
from smart_support.app.parts import Seams, open_parts
from smart_support.cli.company import DEMO_AGENTS, approve_demo, demo_company
from smart_support.cli.serve import LEAD, bind
from smart_support.errors import SupportError
from smart_support.events.records import ThreadAbandoned
from smart_support.identity.people import Person, Role
from smart_support.ledger.records import ApprovalState
from smart_support.settings import Settings

CUSTOMERS = {
    "ada": "Ada Quist",
    "bruno": "Bruno Halvard",
    "carys": "Carys Penrose",
    "dmitri": "Dmitri Olander",
    "elif": "Elif Marwick",
    "farah": "Farah Dunmore",
    "gustavo": "Gustavo Lindqvist",
    "hana": "Hana Vesely",
    "idris": "Idris Calloway",
    "jolanda": "Jolanda Brix",
    "kofi": "Kofi Amberley",
    "lotte": "Lotte Sandvik",
    "mateo": "Mateo Ferring",
    "nadia": "Nadia Oakhurst",
}
"""The demo company's customers, as it has them."""

DAYS = 90
AT_ONCE = 6
TURN_SECONDS = 60.0

_SILENT = {"waiting", "abandoned"}
_SILENCE = timedelta(days=1)
"""After this a customer who does not come back has left, as everywhere in the product."""

_FLAKY = {"kind": "status", "status": 503, "times": 2}
_LOST = {"kind": "drop_after", "times": 1}


@dataclass(frozen=True, slots=True)
class Story:
    """What a customer wants, in their words; `{order}` is one of theirs, as `of` selects it."""

    says: tuple[str, ...]
    weight: int
    of: tuple[str, ...] = ()
    """Statuses that the order may have; none: no order is needed."""
    approves: bool = True
    fails: tuple[str, dict[str, object]] | None = None
    """Operation that the company is told to fail, and how."""
    ends: str = "resolved"
    """`resolved`, `waiting`, `abandoned` (a question is left open), `person` (handed off), or
    `answered` (by a person)."""


SHIPPED = ("shipped", "packed", "delivered")
STORIES = (
    Story(("Where is my order {order}?",), 22, SHIPPED),
    Story(("Where is order {order}?", "Thanks!"), 8, SHIPPED),
    Story(("Show me my orders",), 6, ends="waiting"),
    Story(("I want a refund for order {order}, it came broken",), 12, ("delivered",)),
    Story(
        ("Please refund order {order}", "Never mind"),
        5,
        ("delivered",),
        approves=False,
        ends="waiting",
    ),
    Story(("Cancel order {order}, please",), 5, ("placed", "paid")),
    Story(("Do you have tents?",), 5),
    Story(("Where is my parcel for order {order}?",), 6, SHIPPED, fails=("trackOrder", _FLAKY)),
    Story(
        ("Please refund 5 EUR of order {order}",),
        2,
        ("delivered",),
        fails=("createRefund", _LOST),
        ends="person",
    ),
    Story(("I want to talk to a human",), 4, ends="person"),
    Story(("Can a person call me about order {order}?",), 4, SHIPPED, ends="answered"),
    Story(("Hello",), 4, ends="abandoned"),
    Story(("I want a refund for order {order}",), 4, ("delivered",), ends="abandoned"),
    Story(("Can you book me a flight?",), 3, ends="waiting"),
)


async def seed_demo(
    settings: Settings, conversations: int, *, seed: int, say: Callable[[str], None]
) -> None:
    """Hold `conversations` conversations, spread over the last DAYS days.

    The same `seed` tells the same stories. Nothing may serve this installation meanwhile.

    Raises:
        SupportError: the server runs, or something does not start.
    """
    chance = random.Random(seed)  # noqa: S311 - stories, not secrets
    settings = settings.model_copy(
        update={
            "openai_api_key": None,
            "openai_base_url": None,
            "smart_support_agents_file": DEMO_AGENTS,
            "smart_support_message_limit": 1_000,
        }
    )
    with bind(settings), tempfile.TemporaryDirectory(prefix="smart-support-") as folder:
        async with (
            open_database(settings, say) as url,
            demo_company(Path(folder)) as document,
            open_parts(settings, url, Seams(offline_token_delay=0.0)) as parts,
            _company(document) as company,
        ):
            await approve_demo(parts, document)
            await parts.agents.reload()
            orders = await _orders(company)
            say(f"Holding {conversations} conversations")
            told = [_drawn(chance, orders) for _ in range(conversations)]
            await _hold_all(parts, company, told, say)
    say("Done. See them under Replay, and their figures on the dashboard.")


@dataclass(frozen=True, slots=True)
class _Told:
    """One story with its customer, its order, and how long ago it was."""

    story: Story
    customer: str
    order: str
    ago: timedelta


def _drawn(chance: random.Random, orders: dict[str, dict[str, list[str]]]) -> _Told:
    story = chance.choices(STORIES, [one.weight for one in STORIES])[0]
    customer = chance.choice(sorted(orders))
    fitting = [order for status in story.of for order in orders[customer].get(status, ())]
    while story.of and not fitting:
        customer = chance.choice(sorted(orders))
        fitting = [order for status in story.of for order in orders[customer].get(status, ())]
    # More by day than by night, and a little more of late.
    day = int(DAYS * chance.betavariate(1.0, 1.3))
    hour = min(max(chance.gauss(13.5, 3.5), 6.0), 22.0)
    ago = timedelta(days=day + 1) - timedelta(hours=hour, minutes=chance.random() * 60)
    return _Told(story, customer, chance.choice(fitting) if fitting else "", ago)


async def _hold_all(
    parts: Parts, company: httpx.AsyncClient, told: list[_Told], say: Callable[[str], None]
) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def hold(one: _Told) -> None:
        nonlocal done
        async with places:
            await _hold(parts, one)
        done += 1
        if done % 50 == 0:
            say(f"{done} held")

    # A failure that the company is told to have belongs to one conversation, so these go alone.
    await asyncio.gather(*(hold(one) for one in told if one.story.fails is None))
    for one in told:
        if one.story.fails is not None:
            operation, fault = one.story.fails
            await company.post("/_faults", json={"operation": operation, **fault})
            await hold(one)
            await company.delete("/_faults")


async def _hold(parts: Parts, told: _Told) -> None:
    customer = _person(told.customer)
    thread = await parts.runner.open_thread(customer)
    for place, words in enumerate(told.story.says):
        text = words.format(order=told.order)
        await parts.runner.send(customer, thread.id, f"seed-{place}", text)
        await _answered(parts, thread.id)
        await _decide(parts, customer, thread.id, told.story)
    await _end(parts, customer, thread.id, told.story.ends)
    ago = told.ago
    if told.story.ends in _SILENT and ago > 2 * _SILENCE:
        await _backdate(parts, thread.id, _SILENCE)
        silence = ThreadAbandoned(idle_seconds=_SILENCE.total_seconds())
        await parts.runner.record(thread.id, [silence])
        ago -= _SILENCE
    await parts.derivation.catch_up([thread.id])
    await _backdate(parts, thread.id, ago)
    for derived in (parts.tracker, parts.recorder):
        await derived.rebuild(thread.id)


async def _backdate(parts: Parts, thread_id: str, by: timedelta) -> None:
    for stored in (parts.log, parts.conversations, parts.ledger):
        await stored.backdate(thread_id, by)


async def _decide(parts: Parts, customer: Person, thread_id: str, story: Story) -> None:
    if story.ends == "abandoned":
        return  # the question is left open
    waiting = await parts.ledger.approvals(actor=customer.id, state=ApprovalState.PENDING, limit=50)
    for approval in waiting:
        if approval.thread_id == thread_id:
            await parts.runner.decide(customer, approval.id, approved=story.approves, reason=None)
            await _answered(parts, thread_id)


async def _end(parts: Parts, customer: Person, thread_id: str, ends: str) -> None:
    match ends:
        case "resolved":
            await parts.desk.resolve(customer, thread_id)
        case "person":
            await parts.desk.ask(thread_id, note="Please look at this.", by="customer")
        case "answered":
            await parts.desk.ask(thread_id, note="I would like a call.", by="customer")
            await parts.desk.take_over(LEAD, thread_id)
            await parts.desk.answer(LEAD, thread_id, "seed-person", "I called you, all is settled.")
            await parts.desk.resolve(LEAD, thread_id)


async def _answered(parts: Parts, thread_id: str) -> None:
    """Wait until nothing of the thread is being answered."""
    async with asyncio.timeout(TURN_SECONDS):
        with parts.followers.follow(thread_id) as follower:
            while await parts.conversations.answering(thread_id):
                await follower.next()


def _person(key: str) -> Person:
    return Person(
        id=f"cus_{key}", role=Role.CUSTOMER, name=CUSTOMERS[key], email=f"{key}@example.com"
    )


@asynccontextmanager
async def _company(document: str) -> AsyncIterator[httpx.AsyncClient]:
    parts = urlsplit(document)
    async with httpx.AsyncClient(
        base_url=f"{parts.scheme}://{parts.netloc}", trust_env=False, timeout=30
    ) as client:
        yield client


async def _orders(company: httpx.AsyncClient) -> dict[str, dict[str, list[str]]]:
    """Customer -> status -> numbers of their orders."""
    found: dict[str, dict[str, list[str]]] = {}
    for customer in CUSTOMERS:
        answer = await company.get(
            "/orders", params={"customer_id": f"cus_{customer}", "limit": 100}
        )
        if answer.status_code != 200:
            raise SupportError(f"the demo company does not list orders: {answer.status_code}")
        for order in answer.json()["orders"]:
            found.setdefault(customer, {}).setdefault(order["status"], []).append(order["id"])
    return found
