"""The chat socket: who may, what a bad frame costs, and that it goes on afterwards."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chat_client import ChatClient, connected, transcript_of
from tests.support.database import Databases
from tests.support.model_endpoint import calls, fails, says, stalled
from tests.support.server import ADA, BOB, LEAD, OPERATOR, Server, logged, running
from tests.support.upstream import answers
from websockets.exceptions import InvalidStatus

from smart_support.api.chat_socket import MAX_FRAME_BYTES, MAX_TEXT
from smart_support.app.parts import Seams
from smart_support.database.engine import psycopg_dsn

NOBODYS = "00000000-0000-7000-8000-000000000000"


async def refused(chat: ChatClient, raw: str | bytes) -> dict[str, Any]:
    """The error that a frame is answered with; the socket must live on."""
    await chat.socket.send(raw)
    error: dict[str, Any] = await chat.only("error")
    assert await chat.alive()
    return error


def frame(type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, **fields})


class TestHello:
    async def test_tells_a_customer_who_they_are_and_which_model_answers(
        self, server: Server
    ) -> None:
        async with connected(server.address) as chat:
            ready = await chat.hello(server.token(ADA))

        assert ready == {
            "ready": {
                "protocol": 3,
                "person": {"id": "cus_ada", "role": "customer", "name": "Ada Quist"},
                "offline_model": False,
                "degraded": [],
            }
        }

    async def test_is_no_error_where_a_client_goes_before_it(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connected(server.address) as chat:
            chat.socket.transport.abort()
        async with asyncio.timeout(10):
            while +server.parts.sockets._of_address:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # what the socket ended with is told a moment later

        assert [record.getMessage() for record in caplog.records if record.levelno >= 40] == []

    @pytest.mark.parametrize(
        "first",
        [
            frame("hello", token="not a token"),
            frame("hello", token=""),
            frame("ping"),
            frame("resume", thread_id=NOBODYS),
        ],
    )
    async def test_closes_for_a_first_frame_that_proves_nothing(
        self, server: Server, first: str
    ) -> None:
        async with connected(server.address) as chat:
            await chat.socket.send(first)
            frames, code = await chat.closed()

        assert [said["error"]["code"] for said in frames] == ["AUTH_NOT_SIGNED_IN"]
        assert code == 4401

    @pytest.mark.parametrize(
        ("first", "said"),
        [
            ("{", "VAL_INVALID_INPUT"),
            (frame("hello"), "VAL_INVALID_INPUT"),
            (frame("hello", token="x" * 9_000), "VAL_INVALID_INPUT"),
            (frame("hello", token="x" * MAX_FRAME_BYTES), "CONN_FRAME_TOO_LARGE"),
            (b"\x00", "CONN_BINARY_FRAME"),
        ],
    )
    async def test_closes_for_a_first_frame_that_cannot_be_read(
        self, server: Server, first: str | bytes, said: str
    ) -> None:
        async with connected(server.address) as chat:
            await chat.socket.send(first)
            frames, code = await chat.closed()

        assert [each["error"]["code"] for each in frames] == [said]
        assert code == 4401

    async def test_closes_for_a_token_whose_time_is_over(self, server: Server) -> None:
        token = server.token(ADA, now=datetime(2020, 1, 1, tzinfo=UTC))

        async with connected(server.address) as chat:
            await chat.send("hello", token=token)
            frames, code = await chat.closed()

        assert frames[0]["error"]["code"] == "AUTH_NOT_SIGNED_IN"
        assert token not in json.dumps(frames)
        assert code == 4401

    async def test_sends_operators_away(self, server: Server) -> None:
        async with connected(server.address) as chat:
            await chat.send("hello", token=server.token(OPERATOR))
            frames, code = await chat.closed()

        assert [said["error"]["code"] for said in frames] == ["AUTH_NOT_ALLOWED"]
        assert code == 4403

    async def test_lets_a_lead_who_has_not_taken_over_watch_and_no_more(
        self, server: Server
    ) -> None:
        thread = await server.thread(ADA)

        async with server.chat(LEAD) as chat:
            watched = await chat.follow(thread)
            errors = [
                await refused(chat, raw)
                for raw in (
                    frame("send", thread_id=thread, message_id="m1", text="hi"),
                    frame("cancel", thread_id=thread),
                    frame("decide", approval_id=NOBODYS, decision="approve"),
                )
            ]

        assert watched[-1]["resumed"]["thread_id"] == thread
        assert [error["code"] for error in errors] == [
            "CONV_NOT_TAKEN",
            "AUTH_NOT_ALLOWED",
            "AUTH_NOT_ALLOWED",
        ]
        assert await server.parts.log.read(thread) == ()

    async def test_closes_for_silence(self, databases: Databases, template: str) -> None:
        with databases.one(template) as url:
            async with (
                running(url, seams=Seams(hello_seconds=0.05)) as server,
                connected(server.address) as chat,
            ):
                assert await chat.closed() == ([], 4401)

    async def test_a_client_that_goes_without_a_word_is_no_failure(self, server: Server) -> None:
        with logged() as lines:
            async with connected(server.address):
                pass
            async with server.chat() as chat:
                assert await chat.alive()

        assert not [line for line in lines if line.get("exc_info")]

    async def test_a_second_hello_changes_nothing(self, server: Server) -> None:
        async with server.chat() as chat:
            error = await refused(chat, frame("hello", token=server.token(BOB)))

        assert error["code"] == "VAL_INVALID_INPUT"
        assert "already" in error["detail"]


class TestOrigin:
    async def test_lets_the_own_page_in(self, server: Server) -> None:
        async with server.chat(ADA, origin=server.address) as chat:
            assert await chat.alive()

    @pytest.mark.parametrize(
        "origin",
        [
            "http://elsewhere.example",
            "https://127.0.0.1",
            "http://127.0.0.1:1",
            "null",
            "http://[",
            "",
        ],
    )
    async def test_refuses_another_site_before_it_says_anything(
        self, server: Server, origin: str
    ) -> None:
        with pytest.raises(InvalidStatus) as refusal:
            async with connected(server.address, origin=origin):
                pass

        assert refusal.value.response.status_code == 403


class TestBadFrames:
    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            ("", "VAL_INVALID_INPUT"),
            ("hello?", "VAL_INVALID_INPUT"),
            ("[]", "VAL_INVALID_INPUT"),
            ("null", "VAL_INVALID_INPUT"),
            ('"\\ud800"', "VAL_INVALID_INPUT"),
            ("[" * 5_000, "VAL_INVALID_INPUT"),
            ("{}", "VAL_INVALID_INPUT"),
            (frame("shout"), "VAL_INVALID_INPUT"),
            (frame("resume"), "VAL_INVALID_INPUT"),
            (frame("resume", thread_id="mine"), "VAL_INVALID_INPUT"),
            (frame("resume", thread_id=NOBODYS, last_seq=-1), "VAL_INVALID_INPUT"),
            (frame("resume", thread_id=NOBODYS, last_seq=2**70), "VAL_INVALID_INPUT"),
            (frame("cancel"), "VAL_INVALID_INPUT"),
            (frame("decide", approval_id=NOBODYS, decision="perhaps"), "VAL_INVALID_INPUT"),
            (frame("decide", approval_id=NOBODYS), "VAL_INVALID_INPUT"),
            (b"\x00\x01", "CONN_BINARY_FRAME"),
            (b"", "CONN_BINARY_FRAME"),
            ('"' + "x" * MAX_FRAME_BYTES + '"', "CONN_FRAME_TOO_LARGE"),
            ('"' + "ä" * (MAX_FRAME_BYTES // 2) + '"', "CONN_FRAME_TOO_LARGE"),
            (frame("resume", thread_id=NOBODYS), "VAL_NOT_FOUND"),
            (frame("cancel", thread_id=NOBODYS), "VAL_NOT_FOUND"),
            (frame("send", thread_id=NOBODYS, message_id="m", text="hi"), "VAL_NOT_FOUND"),
            (frame("decide", approval_id=NOBODYS, decision="approve"), "VAL_NOT_FOUND"),
        ],
        ids=range(23),
    )
    async def test_costs_an_error_frame_and_no_more(
        self, server: Server, raw: str | bytes, code: str
    ) -> None:
        thread = await server.thread()
        async with server.chat() as chat:
            error = await refused(chat, raw)
            await chat.follow(thread)
            await chat.write(thread, "Still there?")
            frames = await chat.turn()

        assert error["code"] == code
        assert error["message"]
        assert error["correlation_id"]
        assert ("assistant", "You said: Still there?") in transcript_of(frames).texts

    @pytest.mark.parametrize("text", ["", " \n\t", "x" * (MAX_TEXT + 1), 7, None])
    async def test_refuses_a_message_that_is_none(self, server: Server, text: Any) -> None:
        thread = await server.thread()

        async with server.chat() as chat:
            error = await refused(chat, frame("send", thread_id=thread, message_id="m1", text=text))

        assert error["code"] == "VAL_INVALID_INPUT"
        assert "m1" not in error["message"]
        assert await server.parts.log.read(thread) == ()

    @pytest.mark.parametrize("message_id", ["", "a b", "x" * 65, "ä", "a\n"])
    async def test_refuses_an_id_that_could_not_be_one(
        self, server: Server, message_id: str
    ) -> None:
        thread = await server.thread()

        async with server.chat() as chat:
            error = await refused(
                chat, frame("send", thread_id=thread, message_id=message_id, text="hi")
            )

        assert (error["code"], error["detail"][:15]) == ("VAL_INVALID_INPUT", "send.message_id")

    async def test_stores_a_message_that_postgresql_could_not(self, server: Server) -> None:
        thread = await server.thread()

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, "a NUL \x00 inside")
            shown = transcript_of(await chat.turn())

        assert shown.texts[0] == ("user", "a NUL \ufffd inside")

    async def test_takes_the_longest_message(self, server: Server) -> None:
        thread = await server.thread()
        longest = "ä" * MAX_TEXT

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, longest)
            frames = await chat.turn()

        assert ("user", longest) in transcript_of(frames).texts

    async def test_names_what_an_error_is_about(self, server: Server) -> None:
        async with server.chat() as chat:
            about = [
                (await refused(chat, raw))["ref"]
                for raw in (
                    frame("send", thread_id=NOBODYS, message_id="m7", text="hi"),
                    frame("decide", approval_id=NOBODYS, decision="reject"),
                    frame("cancel", thread_id=NOBODYS),
                )
            ]

        assert about == ["m7", NOBODYS, NOBODYS]

    @pytest.mark.parametrize("size", [5 * MAX_FRAME_BYTES])
    async def test_closes_for_what_is_beyond_all_reading(self, server: Server, size: int) -> None:
        async with server.chat() as chat:
            await chat.socket.send("x" * size)
            frames, code = await chat.closed()

        assert (frames, code) == ([], 1009)

    @settings(max_examples=60)
    @given(
        raw=st.one_of(
            st.text(max_size=60),
            st.binary(max_size=20),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=8), inner, max_size=3)
                ),
            ).map(json.dumps),
            st.fixed_dictionaries(
                {"type": st.sampled_from(["resume", "send", "cancel", "decide", "hello"])},
                optional={
                    name: st.one_of(st.none(), st.integers(), st.text(max_size=40), st.uuids())
                    for name in ("thread_id", "message_id", "text", "last_seq", "approval_id")
                },
            ).map(lambda made: json.dumps(made, default=str)),
        )
    )
    async def test_survives_whatever_comes(self, server: Server, raw: str | bytes) -> None:
        async with server.chat() as chat:
            error = await refused(chat, raw)

        assert error["code"] in {"VAL_INVALID_INPUT", "VAL_NOT_FOUND", "CONN_BINARY_FRAME"}


class TestThreads:
    async def test_anothers_thread_looks_like_none(self, server: Server) -> None:
        thread = await server.thread(ADA)
        looks = []

        async with server.chat(BOB) as chat:
            for wanted in (thread, NOBODYS):
                for raw in (
                    frame("resume", thread_id=wanted),
                    frame("cancel", thread_id=wanted),
                    frame("send", thread_id=wanted, message_id="m1", text="hi"),
                ):
                    error = await refused(chat, raw)
                    del error["correlation_id"]
                    looks.append(json.dumps(error).replace(wanted, "…"))

        assert looks[:3] == looks[3:]
        assert await server.parts.log.read(thread) == ()

    async def test_the_same_message_id_is_one_message(self, server: Server) -> None:
        thread = await server.thread()

        async with server.chat() as chat:
            await chat.write(thread, "Once.", "m1")
            first = await chat.only("ack")
            await server.settled()
            await chat.write(thread, "Once.", "m1")
            again = await chat.only("ack")

        assert (first["status"], again["status"]) == ("open", "duplicate")
        assert first["turn_id"] == again["turn_id"]
        facts = [event.fact.type for event in await server.parts.log.read(thread)]
        assert facts.count("message_received") == 1

    async def test_a_message_during_an_answer_waits_its_turn(self, server: Server) -> None:
        thread, go = await server.thread(), asyncio.Event()
        server.model.queue(stalled(says("First."), go), says("Second."))

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, "one")
            await chat.write(thread, "two")
            queued = [await chat.only("ack"), await chat.only("ack")]
            go.set()
            await chat.turn()
            await chat.turn()

        assert [ack["status"] for ack in queued] == ["open", "queued"]
        said = [text for role, text in transcript_of(chat.frames).texts if role == "assistant"]
        assert said == ["First.", "Second."]

    async def test_cancel_stops_the_answer_and_keeps_what_was_said(self, server: Server) -> None:
        thread = await server.thread()
        server.model.queue(stalled(says("One two three four."), asyncio.Event(), after=3))

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, "Count!")
            await chat.until(lambda frame: " two" in frame.get("event", {}).get("delta", ""))
            await chat.send("cancel", thread_id=thread)
            frames = await chat.turn()

        assert frames[-1]["event"]["outcome"]["type"] == "cancelled"
        assert transcript_of(chat.frames).texts[-1] == ("assistant", "One two")

    async def test_two_sockets_see_the_same(self, server: Server) -> None:
        thread = await server.thread()

        async with server.chat() as one, server.chat() as other:
            await one.follow(thread)
            await other.follow(thread)
            await one.write(thread, "Hello to both.")
            ours = await one.turn()
            theirs = await other.turn()

        assert [each for each in ours if "event" in each] == theirs

    async def test_following_again_replaces_the_first_following(self, server: Server) -> None:
        thread = await server.thread()

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.follow(thread)
            await chat.write(thread, "Only once, please.")
            frames = await chat.turn()

        assert transcript_of(frames).seqs == [1, 2, 3, 4]


class TestWhatACustomerSees:
    async def test_a_read_without_what_the_systems_said(self, server: Server) -> None:
        await server.import_company()
        thread = await server.thread()
        server.model.queue(calls(("getOrder", {"order_id": "1001"})), says("It was shipped."))
        server.company.queue(answers({"status": "shipped", "internal_note": "a difficult one"}))

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, "Where is order 1001?")
            shown = transcript_of(await chat.turn())

        assert list(shown.calls.values()) == [
            ["getOrder", '{"order_id": "1001"}', '{"outcome": "done"}']
        ]
        everything = json.dumps(chat.frames)
        assert "internal_note" not in everything
        assert server.company.base_url not in everything
        assert "cus_ada" in json.dumps(server.company.requests[-1].query)

    async def test_a_failed_call_without_its_reason(self, server: Server) -> None:
        await server.import_company()
        thread = await server.thread()
        server.model.queue(calls(("getOrder", {"order_id": "1002"})), says("That went wrong."))
        server.company.queue(answers({"error": "db7.internal is on fire"}, status=400))

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, "Where is order 1002?")
            shown = transcript_of(await chat.turn())

        attempts = [told["value"] for told in shown.told if told.get("name") == "attempt"]
        assert [set(attempt) for attempt in attempts] == [{"tool_call_id", "number", "outcome"}]
        assert "on fire" not in json.dumps(chat.frames)

    async def test_a_failed_turn_in_words_for_people(self, server: Server) -> None:
        thread = await server.thread()
        server.model.queue(fails(401, "key sk-secret of org-internal is wrong"))

        async with server.chat() as chat:
            await chat.follow(thread)
            await chat.write(thread, "Hello?")
            ended = (await chat.turn())[-1]["event"]

        assert ended["type"] == "RUN_ERROR"
        assert ended["code"].startswith("MODEL_")
        assert ended["metadata"]["correlation_id"]
        assert "internal" not in json.dumps(chat.frames)


class TestApprovals:
    async def ask(self, server: Server, chat: ChatClient, thread: str) -> str:
        """Bring a write to where it waits for a yes; the id of the question."""
        server.model.queue(calls(("createRefund", {"order_id": "7", "body": {"amount": 12}})))
        await chat.follow(thread)
        await chat.write(thread, "I want my money back.")
        frames = await chat.turn()
        (asked,) = [
            each["event"]["value"]
            for each in frames
            if each.get("event", {}).get("name") == "approval_asked"
        ]
        (waiting,) = frames[-1]["event"]["outcome"]["interrupts"]
        assert waiting["id"] == asked["approval_id"]
        return str(asked["approval_id"])

    async def test_a_yes_sends_exactly_what_was_shown(self, server: Server) -> None:
        await server.import_company()
        thread, sent = await server.thread(), len(server.company.sent("POST"))

        async with server.chat() as chat:
            approval_id = await self.ask(server, chat, thread)
            assert len(server.company.sent("POST")) == sent
            server.model.queue(says("Done."))
            await chat.send("decide", approval_id=approval_id, decision="approve")
            await chat.turn()

        (request,) = server.company.sent("POST")[sent:]
        assert (request.path, request.body) == ("/orders/7/refunds", {"amount": 12})
        assert transcript_of(chat.frames).texts[-1] == ("assistant", "Done.")

    async def test_a_no_sends_nothing_and_a_second_word_is_refused(self, server: Server) -> None:
        await server.import_company()
        thread, sent = await server.thread(), len(server.company.sent("POST"))

        async with server.chat() as chat:
            approval_id = await self.ask(server, chat, thread)
            server.model.queue(says("As you wish."))
            await chat.send("decide", approval_id=approval_id, decision="reject", reason="no")
            await chat.turn()
            error = await refused(
                chat, frame("decide", approval_id=approval_id, decision="approve")
            )

        assert error["ref"] == approval_id
        assert error["code"] != "SYS_INTERNAL"
        assert len(server.company.sent("POST")) == sent

    async def test_anothers_question_looks_like_none(self, server: Server) -> None:
        await server.import_company()
        thread = await server.thread()

        async with server.chat() as chat, server.chat(BOB) as other:
            approval_id = await self.ask(server, chat, thread)
            errors = [
                await refused(other, frame("decide", approval_id=each, decision="approve"))
                for each in (approval_id, NOBODYS)
            ]

        assert {error["code"] for error in errors} == {"VAL_NOT_FOUND"}
        assert len({error["message"] for error in errors}) == 1
        questions = await server.parts.ledger.approvals(actor=ADA.id, state=None, limit=50)
        assert [each.state.value for each in questions if each.id == approval_id] == ["pending"]


class TestRateLimit:
    async def test_takes_ten_in_ten_seconds_and_says_when_there_is_room(
        self, server: Server
    ) -> None:
        thread, other = await server.thread(), await server.thread()

        async with server.chat() as chat:
            for number in range(10):
                await chat.write(thread, f"message {number}")
                await chat.only("ack")
            await chat.write(thread, "one too many", "late")
            error = await chat.only("error")
            await chat.write(other, "elsewhere there is room")
            await chat.only("ack")

        assert (error["code"], error["ref"]) == ("RATE_LIMITED", "late")
        assert 0 < error["retry_after"] <= 10
        await server.settled()
        facts = [event.fact for event in await server.parts.log.read(thread, limit=500)]
        assert [fact.type for fact in facts].count("message_received") == 10

    async def test_a_repeated_message_takes_no_room(self, server: Server) -> None:
        thread = await server.thread()

        async with server.chat() as chat:
            for _ in range(15):
                await chat.write(thread, "The same again.", "m1")
                await chat.only("ack")


class TestFailures:
    async def test_a_log_that_cannot_be_read_is_said_and_logged(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat() as chat:
                thread = await server.thread()
                await chat.write(thread, "Hello.")
                await chat.only("ack")
                await server.settled()
                async with await psycopg.AsyncConnection.connect(psycopg_dsn(url)) as connection:
                    await connection.execute("UPDATE events SET type = 'from_the_future'")
                with logged() as lines:
                    await chat.send("resume", thread_id=thread)
                    frames, code = await chat.closed()

        assert frames[-1]["error"]["code"] == "SYS_INTERNAL"
        assert "from_the_future" not in json.dumps(frames)
        assert code == 1011
        assert [line["event"] for line in lines if line.get("exc_info")] == ["frame_crashed"]

    async def test_a_lost_database_is_said_and_outlived(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat() as chat:
                thread = await server.thread()
                with databases.unreachable(url):
                    error = await refused(
                        chat, frame("send", thread_id=thread, message_id="m1", text="Hi.")
                    )
                await chat.follow(thread)
                await chat.write(thread, "Hi.", "m1")
                frames = await chat.turn()

        assert (error["code"], error["ref"]) == ("DB_UNAVAILABLE", "m1")
        assert transcript_of(frames).texts == [("user", "Hi."), ("assistant", "You said: Hi.")]

    async def test_a_lost_database_ends_a_following_with_its_reason(
        self, databases: Databases, template: str
    ) -> None:
        with databases.one(template) as url:
            async with running(url) as server, server.chat() as chat:
                thread = await server.thread()
                with databases.unreachable(url):
                    await chat.send("resume", thread_id=thread)
                    error = await chat.only("error")

        assert error["code"] == "DB_UNAVAILABLE"
