"""A dropped socket costs nothing: the turn goes on, and resuming brings exactly the rest."""

import asyncio

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chat_client import Transcript, transcript_of
from tests.support.histories import attempt, resolved
from tests.support.model_endpoint import calls, says, stalled
from tests.support.server import Server

from smart_support.agent.state import LiveText
from smart_support.events.tables import events

LONG = "One two three four five six seven eight nine ten eleven twelve."


async def test_a_dropped_socket_does_not_stop_the_turn(server: Server) -> None:
    thread, go = await server.thread(), asyncio.Event()
    server.model.queue(stalled(says(LONG), go, after=4))
    async with server.chat() as chat:
        await chat.follow(thread)
        await chat.write(thread, "Count, please.")
        await chat.until(lambda frame: " two" in frame.get("event", {}).get("delta", ""))

    go.set()
    await server.settled()

    facts = [event.fact for event in await server.parts.log.read(thread)]
    assert facts[-2].text == LONG  # type: ignore[union-attr]
    assert facts[-1].status == "done"  # type: ignore[union-attr]


async def test_who_comes_in_the_middle_gets_the_text_so_far_and_then_the_rest(
    server: Server,
) -> None:
    thread, go = await server.thread(), asyncio.Event()
    server.model.queue(stalled(says(LONG), go, after=5))

    async with server.chat() as first, server.chat() as late:
        await first.follow(thread)
        await first.write(thread, "Count, please.")
        await first.until(lambda frame: " three" in frame.get("event", {}).get("delta", ""))
        await late.follow(thread)
        snapshot = await late.until(lambda frame: "offset" in frame)
        go.set()
        await late.turn()

    assert snapshot[-1]["event"]["delta"].startswith("One two three")
    assert snapshot[-1]["offset"] == 0
    shown = transcript_of(late.frames)
    assert shown.texts == [("user", "Count, please."), ("assistant", LONG)]
    assert shown.seqs == [1, 2, 3, 4]


async def test_resuming_says_where_the_past_ends(server: Server) -> None:
    thread = await server.thread()
    async with server.chat() as chat:
        assert (await chat.follow(thread))[-1]["resumed"] == {"thread_id": thread, "last_seq": 0}
        await chat.write(thread, "Hello.")
        await chat.turn()

    async with server.chat() as again:
        frames = await again.follow(thread, last_seq=2)
        nothing = await again.follow(thread, last_seq=4)

    assert [frame["seq"] for frame in frames if frame.get("seq")] == [3, 4]
    assert frames[-1]["resumed"]["last_seq"] == 4
    assert nothing == [{"resumed": {"thread_id": thread, "last_seq": 4}}]


async def test_a_place_that_the_log_does_not_have_gives_everything_anew_and_says_so(
    server: Server,
) -> None:
    """After a restore from a backup a client may know more than the log."""
    thread = await server.thread()
    async with server.chat() as chat:
        await chat.follow(thread)
        await chat.write(thread, "Hello.")
        await chat.turn()

        frames = await chat.follow(thread, last_seq=1_000)
        await chat.write(thread, "Again.")
        more = await chat.turn()

    assert frames[0] == {"reset": {"thread_id": thread, "reason": "unknown"}}
    assert transcript_of(frames[1:]).seqs == [1, 2, 3, 4]
    assert transcript_of(more).seqs == [5, 6, 7, 8]


async def test_a_place_whose_next_events_were_deleted_gives_what_is_left_and_says_so(
    server: Server,
) -> None:
    thread = await server.thread()
    await server.parts.log.append(thread, [attempt(number=n) for n in range(1, 11)])
    async with server.parts.log._sessions.begin() as session:
        await session.execute(sa.delete(events).where(events.c.seq <= 6))

    async with server.chat() as chat:
        too_old = await chat.follow(thread, last_seq=3)
        still_there = await chat.follow(thread, last_seq=6)

    assert too_old[0] == {"reset": {"thread_id": thread, "reason": "too_old"}}
    assert transcript_of(too_old[1:]).seqs == [7, 8, 9, 10]
    assert transcript_of(still_there).seqs == [7, 8, 9, 10]
    assert "resumed" in still_there[-1]


async def test_a_long_past_comes_whole(server: Server) -> None:
    thread = await server.thread()
    await server.parts.log.append(thread, [attempt(number=n) for n in range(1, 1_203)])

    async with server.chat() as chat:
        frames = await chat.follow(thread)

    assert transcript_of(frames).seqs == list(range(1, 1_203))


@settings(max_examples=10)
@given(drops=st.lists(st.integers(0, 9), max_size=6), hurry=st.booleans())
async def test_wherever_it_drops_nothing_is_missing_and_nothing_twice(
    server: Server, drops: list[int], hurry: bool
) -> None:
    if not await server.parts.operations.specs():
        await server.import_company()
    thread = await server.thread()
    server.model.queue(calls(("getOrder", {"order_id": "7"}), text="I look."), says(LONG))
    shown = Transcript()

    async with server.chat() as chat:
        await chat.write(thread, "Where is it?")
        await chat.only("ack")
    if hurry:
        await server.settled()
    for frames in drops:
        async with server.chat() as chat:
            await chat.send("resume", thread_id=thread, last_seq=shown.last_seq)
            for _ in range(frames):
                frame = await chat.receive()
                transcript_of([frame], shown)
                if frame.get("event", {}).get("type") == "RUN_FINISHED" or "resumed" in frame:
                    break
    await server.settled()
    async with server.chat() as chat:
        transcript_of(await chat.follow(thread, shown.last_seq), shown)

    log = await server.parts.log.read(thread)
    assert shown.seqs == [event.seq for event in log]
    assert [text for role, text in shown.texts] == ["Where is it?", "I look.", LONG]
    assert [call[0] for call in shown.calls.values()] == ["getOrder"]


async def test_facts_that_are_told_late_or_not_at_all_still_come_in_order(server: Server) -> None:
    thread_id = await server.thread()
    first, second, third = await server.parts.log.append(
        thread_id, [resolved(name) for name in ("a", "b", "c")]
    )
    async with server.chat() as chat:
        await chat.follow(thread_id, last_seq=first.seq)
        later = await server.parts.log.append(
            thread_id, [resolved(name) for name in ("d", "e", "f")]
        )

        server.parts.followers.publish(thread_id, [later[1], later[0], later[2], second])
        frames = await chat.until(lambda frame: frame.get("seq") == later[2].seq)

    assert third.seq == later[0].seq - 1
    assert [frame["seq"] for frame in frames if frame.get("seq")] == [one.seq for one in later]


async def test_who_has_had_an_answer_is_not_told_to_begin_it_again(server: Server) -> None:
    """Words of another process that arrive after the end of the answer was read from the log."""
    thread = await server.thread()
    server.model.queue(says(LONG))
    async with server.chat() as chat:
        await chat.follow(thread)
        await chat.write(thread, "Count, please.")
        await chat.turn()
        answer, last_seq = list(transcript_of(chat.frames).messages)[-1], 4
        followers = server.parts.followers

        followers.overhear(thread, LiveText(answer, 0, "One two"))
        async with server.chat() as again:
            frames = await again.follow(thread, last_seq)
            followers.overhear(thread, LiveText(answer, 7, " three"))
            followers.overhear(thread, LiveText("the next", 0, "And"))
            frames += await again.until(lambda frame: "offset" in frame)

    told = [frame["event"] for frame in frames if "event" in frame]
    assert [(event["messageId"], event.get("delta")) for event in told] == [
        ("the next", None), ("the next", "And"),
    ]  # fmt: skip
