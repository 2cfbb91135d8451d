"""Handing a conversation to a person and back, over REST and the socket."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.support.chat_client import ChatClient, transcript_of
from tests.support.model_endpoint import calls, says, stalled
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server

from smart_support.agent.prompts import HANDOFF
from smart_support.identity.people import Person, Role

LOU = Person(id="lead_lou", role=Role.LEAD, name="Lou")


async def asked_for(server: Server, note: str = "") -> str:
    """A thread in which Ada has asked for a person."""
    thread = await server.thread()
    answer = await server.http(ADA).post(f"/api/threads/{thread}/handoff", json={"note": note})
    assert answer.status_code == 200, answer.text
    return thread


async def taken(server: Server, by: Person = LEAD) -> str:
    """A thread that this lead has."""
    thread = await asked_for(server)
    answer = await act(server, by, thread, "take-over")
    assert answer.status_code == 200, answer.text
    return thread


async def act(
    server: Server, person: Person, thread: str, what: str, body: Any = None
) -> httpx.Response:
    return await server.http(person).post(f"/api/threads/{thread}/{what}", json=body)


async def facts(server: Server, thread: str) -> list[Any]:
    return [event.fact for event in await server.parts.log.read(thread)]


async def types(server: Server, thread: str) -> list[str]:
    return [fact.type for fact in await facts(server, thread)]


async def acked(chat: ChatClient, thread: str, text: str) -> str:
    """Write, and how it was taken in."""
    await chat.write(thread, text, str(uuid4()))
    status: str = (await chat.only("ack"))["status"]
    return status


class TestAsking:
    async def test_puts_the_conversation_on_the_list_of_those_that_wait(
        self, server: Server
    ) -> None:
        thread = await asked_for(server, "It arrived broken")

        body = (await server.http(ADA).get(f"/api/threads/{thread}")).json()
        listed = await server.http(LEAD).get("/api/threads", params={"status": "handed_off"})
        assert (body["status"], body["handling"]) == (
            "handed_off",
            {
                "with_person": True,
                "assigned_to": None,
                "assigned_name": None,
                "reason": "customer_request",
            },
        )
        assert thread in [each["id"] for each in listed.json()["threads"]]
        (asked,) = await facts(server, thread)
        assert (asked.note, asked.by, asked.turn_id) == ("It arrived broken", "customer", None)

    async def test_twice_is_asking_once(self, server: Server) -> None:
        thread = await asked_for(server)

        again = await act(server, ADA, thread, "handoff", {"note": "Hello?"})

        assert again.status_code == 200
        assert await types(server, thread) == ["handoff_asked"]

    async def test_leaves_queued_messages_to_the_person(self, server: Server) -> None:
        thread, go_on = await server.thread(), asyncio.Event()
        before = len(server.model.requests)
        server.model.queue(stalled(says("The first answer."), go_on))
        async with server.chat(ADA) as chat:
            assert await acked(chat, thread, "first") == "open"
            await server.model.received(before + 1)
            assert await acked(chat, thread, "second") == "queued"

            await act(server, ADA, thread, "handoff", {})
            go_on.set()
            await server.settled()
            await chat.follow(thread)

        told = transcript_of(chat.frames).texts
        assert told == [("user", "first"), ("user", "second"), ("assistant", "The first answer.")]
        assert len(server.model.requests) == before + 1
        assert (await types(server, thread)).count("turn_closed") == 2

    async def test_by_the_agent_makes_it_silent(self, server: Server) -> None:
        thread = await server.thread()
        reason = {"reason": "policy_restriction", "note": "Wants more than I may give."}
        server.model.queue(calls((HANDOFF, reason)), says("I have asked somebody."))
        async with server.chat(ADA) as chat:
            assert await acked(chat, thread, "Give me all of it") == "open"
            await server.settled()
            requests = len(server.model.requests)

            assert await acked(chat, thread, "Well?") == "to_person"
            await server.settled()

        handling = (await server.http(LEAD).get(f"/api/threads/{thread}")).json()["handling"]
        assert handling["with_person"]
        assert handling["reason"] == "policy_restriction"
        assert len(server.model.requests) == requests


class TestTakingOver:
    async def test_by_two_leads_at_once_is_won_by_one(self, server: Server) -> None:
        thread = await asked_for(server)

        answers = await asyncio.gather(
            *(act(server, lead, thread, "take-over") for lead in (LEAD, LOU))
        )

        by_status = {answer.status_code: answer.json() for answer in answers}
        assert sorted(by_status) == [200, 409]
        winner = by_status[200]["handling"]["assigned_name"]
        assert by_status[409]["code"] == "CONV_TAKEN_BY_ANOTHER"
        assert by_status[409]["detail"] == f"{winner} has this conversation."
        assert (await types(server, thread)).count("person_took_over") == 1

    async def test_twice_by_the_same_lead_changes_nothing(self, server: Server) -> None:
        thread = await taken(server)

        assert (await act(server, LEAD, thread, "take-over")).status_code == 200

        assert (await types(server, thread)).count("person_took_over") == 1

    async def test_starts_no_turn_for_what_the_customer_writes(self, server: Server) -> None:
        thread = await taken(server)
        requests = len(server.model.requests)

        async with server.chat(ADA) as chat:
            assert await acked(chat, thread, "Are you there?") == "to_person"
        await server.settled()

        assert (await types(server, thread))[2:] == ["message_received"]
        assert (await facts(server, thread))[-1].to_person
        assert len(server.model.requests) == requests


class TestAnswering:
    async def test_reaches_the_customer_once_however_often_it_is_sent(self, server: Server) -> None:
        thread = await taken(server)
        words = {"message_id": "d-1", "text": "Hello Ada."}

        async with server.chat(ADA) as chat:
            await chat.follow(thread)
            sent = [await act(server, LEAD, thread, "messages", words) for _ in range(2)]
            last = {"message_id": "d-2", "text": "That is all."}
            await act(server, LEAD, thread, "messages", last)
            await chat.until(
                lambda frame: (
                    frame.get("event", {}).get("type") == "TEXT_MESSAGE_END"
                    and frame["event"]["messageId"] == "d-2"
                )
            )

        assert [answer.status_code for answer in sent] == [200, 200]
        events = [frame["event"] for frame in chat.frames if "event" in frame]
        starts = [event for event in events if event["type"] == "TEXT_MESSAGE_START"]
        assert [(start["messageId"], start["metadata"]["person"]) for start in starts] == [
            ("d-1", LEAD.name),
            ("d-2", LEAD.name),
        ]
        told = transcript_of(chat.frames).texts
        assert told == [("assistant", "Hello Ada."), ("assistant", "That is all.")]

    async def test_works_over_the_socket_too(self, server: Server) -> None:
        thread = await taken(server)

        async with server.chat(LEAD) as chat:
            await chat.write(thread, "Hello.", "d-1")
            ack = await chat.only("ack")

        assert ack == {
            "thread_id": thread,
            "message_id": "d-1",
            "turn_id": None,
            "status": "to_customer",
        }
        assert (await types(server, thread))[-1] == "person_answered"

    @pytest.mark.parametrize("lead", [LEAD, LOU])
    async def test_is_for_who_has_taken_it_over(self, server: Server, lead: Person) -> None:
        thread = await (asked_for(server) if lead is LEAD else taken(server))

        answer = await act(
            server, lead, thread, "messages", {"message_id": "d-1", "text": "Hello."}
        )

        assert (answer.status_code, answer.json()["code"]) == (409, "CONV_NOT_TAKEN")
        assert "person_answered" not in await types(server, thread)

    @pytest.mark.parametrize(
        "body",
        [
            {"message_id": "", "text": "Hello."},
            {"message_id": "a b", "text": "Hello."},
            {"message_id": "d-1", "text": " \n"},
            {"message_id": "d-1", "text": "x" * 8_001},
            {},
        ],
    )
    async def test_takes_a_message_as_the_socket_does(
        self, server: Server, body: dict[str, str]
    ) -> None:
        thread = await taken(server)

        assert (await act(server, LEAD, thread, "messages", body)).status_code == 422


class TestGivingBack:
    async def test_lets_the_agent_answer_knowing_what_was_said(self, server: Server) -> None:
        thread = await taken(server)
        await act(server, LEAD, thread, "messages", {"message_id": "d-1", "text": "I paid it."})

        given = await act(server, LEAD, thread, "give-back", {"remark": "She has a voucher."})
        async with server.chat(ADA) as chat:
            assert await acked(chat, thread, "And now?") == "open"
            await server.settled()
            frames = await chat.follow(thread)

        assert given.json()["handling"]["with_person"] is False
        said = [str(each["content"]) for each in server.model.requests[-1].body["messages"]]
        assert any("She has a voucher." in each for each in said)
        assert any(LEAD.name in each and "I paid it." in each for each in said)
        assert said[-1] == "And now?"
        assert transcript_of(frames).texts[-1] == ("assistant", "You said: And now?")
        assert "voucher" not in str(frames)

    async def test_of_what_nobody_has_taken_is_possible_of_anothers_not(
        self, server: Server
    ) -> None:
        nobodys, anothers = await asked_for(server), await taken(server, LOU)

        mine = await act(server, LEAD, nobodys, "give-back", {})
        refused = await act(server, LEAD, anothers, "give-back", {})
        again = await act(server, LEAD, nobodys, "give-back", {})

        assert (mine.status_code, mine.json()["status"]) == (200, "waiting")
        assert (refused.status_code, refused.json()["detail"]) == (
            409,
            "Lou has this conversation.",
        )
        assert (again.status_code, again.json()["code"]) == (409, "CONV_NOT_TAKEN")


class TestResolving:
    @pytest.mark.parametrize("who", [LEAD, ADA])
    async def test_lets_go_of_it(self, server: Server, who: Person) -> None:
        thread = await taken(server)

        body = (await act(server, who, thread, "resolve")).json()

        assert (body["status"], body["handling"]["with_person"]) == ("resolved", False)
        assert body["handling"]["assigned_to"] is None
        async with server.chat(ADA) as chat:
            assert await acked(chat, thread, "One more thing") == "open"
        await server.settled()


class TestMayNot:
    @pytest.mark.parametrize(
        ("person", "status"), [(BOB, 404), (OPERATOR, 403)], ids=["another customer", "operator"]
    )
    async def test_ask_in_anothers_conversation(
        self, server: Server, person: Person, status: int
    ) -> None:
        thread = await server.thread(ADA)

        answer = await act(server, person, thread, "handoff", {})

        assert answer.status_code == status
        assert await types(server, thread) == []

    @pytest.mark.parametrize("person", [ADA, BOB, OPERATOR], ids=lambda person: person.id)
    @pytest.mark.parametrize(
        ("what", "body"),
        [
            ("take-over", None),
            ("messages", {"message_id": "d-1", "text": "Hello."}),
            ("give-back", {}),
        ],
    )
    async def test_be_done_by_who_is_no_lead(
        self, server: Server, person: Person, what: str, body: Any
    ) -> None:
        thread = await asked_for(server)

        answer = await act(server, person, thread, what, body)

        assert answer.status_code == 403
        assert await types(server, thread) == ["handoff_asked"]

    @pytest.mark.parametrize(
        ("what", "body"),
        [
            ("handoff", {}),
            ("take-over", None),
            ("messages", {"message_id": "d-1", "text": "Hello."}),
            ("give-back", {}),
            ("resolve", None),
        ],
    )
    async def test_be_done_where_there_is_no_conversation(
        self, server: Server, what: str, body: Any
    ) -> None:
        answer = await act(server, LEAD, str(uuid4()), what, body)

        assert answer.status_code == 404
