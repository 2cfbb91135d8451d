"""Conversations: begin one, list them, settle one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from smart_support.api.access import Customer, CustomerOrLead, Lead
from smart_support.api.parts import Parts, Running
from smart_support.conversations.lifecycle import Lifecycle, ThreadFilter
from smart_support.conversations.records import Thread as StoredThread
from smart_support.events.standing import Status
from smart_support.identity.people import Person, Role

router = APIRouter(prefix="/api/threads", tags=["threads"])


class ThreadCustomer(BaseModel):
    """Whose conversation it is."""

    id: str
    name: str


class Handling(BaseModel):
    """Who has the conversation."""

    with_person: bool = Field(description="A person has it or is asked for; agents are silent.")
    assigned_to: str | None = Field(description="Id of the support lead who took over.")
    assigned_name: str | None
    reason: str | None = Field(description="Why a person was asked for the last time.")


class Thread(BaseModel):
    """A conversation and how it stands."""

    id: UUID
    title: str = Field(description="The beginning of the first message; empty before there is one.")
    status: Status
    customer: ThreadCustomer
    opened_at: datetime
    last_event_at: datetime
    turns: int
    tool_calls: int
    errors: int = Field(description="Failed turns, and tool calls that failed or are unclear.")
    agent: str | None = Field(description="The agent that answered last.")
    handling: Handling | None = Field(None, description="Told of a single thread only.")


class HandoffRequest(BaseModel):
    """The wish to talk to a person."""

    note: str = Field("", max_length=1_000, description="What the person should know.")


class Remark(BaseModel):
    """What the agents and other leads should know."""

    remark: str = Field("", max_length=1_000)


class PersonMessage(BaseModel):
    """What a support lead writes to the customer."""

    message_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    text: str = Field(min_length=1, max_length=8_000, pattern=r"\S")


class ThreadList(BaseModel):
    """A page of conversations, those opened last first."""

    threads: list[Thread]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


@router.post("", status_code=201, summary="Begin a conversation")
async def open_thread(person: Customer, parts: Running) -> Thread:
    """A new, empty conversation of the signed-in customer."""
    return _empty(await parts.runner.open_thread(person))


@router.get("", summary="List conversations", response_model=ThreadList)
async def list_threads(
    person: CustomerOrLead,
    parts: Running,
    status: Status | None = None,
    query: Annotated[str | None, Query(max_length=200, description="Words of the title.")] = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """A customer sees their own, a support lead all."""
    which = ThreadFilter(
        status=status,
        customer_id=person.id if person.role is Role.CUSTOMER else None,
        text=query or None,
    )
    rows, next_after = await parts.tracker.lines(which, str(cursor) if cursor else None, limit)
    return written({"threads": [_line(row) for row in rows], "next_cursor": next_after})


@router.get("/{thread_id}", summary="One conversation")
async def read_thread(thread_id: UUID, person: CustomerOrLead, parts: Running) -> Thread:
    """How it stands now."""
    return await thread_of(parts, person, str(thread_id))


@router.post("/{thread_id}/resolve", summary="Mark a conversation as resolved")
async def resolve_thread(thread_id: UUID, person: CustomerOrLead, parts: Running) -> Thread:
    """The matter is settled; a further message opens it again."""
    before = await thread_of(parts, person, str(thread_id))
    if before.status is not Status.RESOLVED:
        await parts.desk.resolve(person, str(thread_id))
    return await thread_of(parts, person, str(thread_id))


@router.post("/{thread_id}/handoff", summary="Ask for a person")
async def ask_for_person(
    thread_id: UUID, wish: HandoffRequest, person: CustomerOrLead, parts: Running
) -> Thread:
    """From now on no agent answers here; the conversation is on the list of the support leads."""
    await thread_of(parts, person, str(thread_id))
    await parts.desk.ask(str(thread_id), note=wish.note, by=person.role.value)
    return await thread_of(parts, person, str(thread_id))


@router.post("/{thread_id}/take-over", summary="Take a conversation over")
async def take_over(thread_id: UUID, person: Lead, parts: Running) -> Thread:
    """Answer as a person; the agents are silent until it is given back or resolved."""
    await parts.desk.take_over(person, str(thread_id))
    return await thread_of(parts, person, str(thread_id))


@router.post("/{thread_id}/messages", summary="Write to the customer")
async def write_as_person(
    thread_id: UUID, message: PersonMessage, person: Lead, parts: Running
) -> Thread:
    """Only who has taken the conversation over; the same `message_id` is not a second message."""
    await parts.desk.answer(person, str(thread_id), message.message_id, message.text)
    return await thread_of(parts, person, str(thread_id))


@router.post("/{thread_id}/give-back", summary="Give a conversation back")
async def give_back(thread_id: UUID, remark: Remark, person: Lead, parts: Running) -> Thread:
    """Let the agents answer again; the remark is for them, not for the customer."""
    await parts.desk.give_back(person, str(thread_id), remark.remark)
    return await thread_of(parts, person, str(thread_id))


def written(page: Mapping[str, Any]) -> Response:
    """An answer of many rows, as JSON. Its model is what tests hold it against, row by row."""
    return Response(orjson.dumps(page, option=orjson.OPT_UTC_Z), media_type="application/json")


async def threads_of(parts: Parts, person: Person, ids: Sequence[str]) -> list[dict[str, Any]]:
    """These conversations as `Thread` has them in JSON, in this order, for who may see them all.

    Raises:
        NotFound: one of them does not exist.
    """
    if not ids:
        return []
    rows, _ = await parts.tracker.lines(ThreadFilter(among=frozenset(ids)), limit=len(ids))
    known = {row["thread_id"]: row for row in rows}
    return [await thread_told(parts, person, each, known.get(each)) for each in ids]


async def thread_told(
    parts: Parts, person: Person, thread_id: str, row: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A conversation as `Thread` has it in JSON, of which `row` was told, if anything is known.

    Raises:
        NotFound: it does not exist.
    """
    if row is None or row["customer_id"] is None:  # nothing was derived of it yet
        return (await thread_of(parts, person, thread_id)).model_dump()
    return _line(row)


async def thread_of(parts: Parts, person: Person, thread_id: str) -> Thread:
    """The conversation, if this person may see it.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    owner = person.id if person.role is Role.CUSTOMER else None
    standing = partial(parts.conversations.standing, thread_id, customer_id=owner)
    stored, lifecycle, behind = await standing()
    if behind:
        # A client asks when it has seen a turn end, which can be before anybody has derived it.
        await parts.derivation.catch_up([thread_id])
        stored, lifecycle, _ = await standing()
    if lifecycle is None:
        return _empty(stored)  # nothing was said yet, or it cannot be derived now
    thread = _of(lifecycle, stored.customer_id, stored.customer_name)
    return thread.model_copy(update={"handling": _handling(stored, lifecycle.handoff_reason)})


def _handling(stored: StoredThread, reason: str | None) -> Handling:
    return Handling(
        with_person=stored.with_person,
        assigned_to=stored.assigned_to,
        assigned_name=stored.assigned_name,
        reason=reason,
    )


def _empty(stored: StoredThread) -> Thread:
    return Thread(
        id=UUID(stored.id),
        title="",
        status=Status.OPENED,
        customer=ThreadCustomer(id=stored.customer_id, name=stored.customer_name),
        opened_at=stored.opened_at,
        last_event_at=stored.opened_at,
        turns=0,
        tool_calls=0,
        errors=0,
        agent=None,
        handling=_handling(stored, None),
    )


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same as `_of`, as it stands in JSON."""
    return {
        "id": row["thread_id"],
        "title": row["title"],
        "status": row["status"],
        "customer": {"id": row["customer_id"], "name": row["customer_name"]},
        "opened_at": row["opened_at"],
        "last_event_at": row["last_event_at"],
        "turns": row["turns"],
        "tool_calls": row["tool_calls"],
        "errors": row["errors"],
        "agent": row["agent"],
        "handling": None,
    }


def _of(lifecycle: Lifecycle, customer_id: str, customer_name: str) -> Thread:
    return Thread(
        id=UUID(lifecycle.thread_id),
        title=lifecycle.title,
        status=lifecycle.status,
        customer=ThreadCustomer(id=customer_id, name=customer_name),
        opened_at=lifecycle.opened_at,
        last_event_at=lifecycle.last_event_at,
        turns=lifecycle.turns,
        tool_calls=lifecycle.tool_calls,
        errors=lifecycle.errors,
        agent=lifecycle.agent,
    )
