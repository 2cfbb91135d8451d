"""Five times as many customers as places, through real sockets: they wait, and nothing is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from tests.support.chat_client import Frame, transcript_of
from tests.support.model_endpoint import Received, Script, says, stalled
from tests.support.server import ADA, BOB, Server, echo, running

from smart_support.chat.places import BACK_LATEST, BACK_SOONEST
from smart_support.identity.people import Person, Role

PLACES, WAITING, EACH, SEED = 4, 8, 3, 20_261_125
CUSTOMERS = 5 * PLACES
SOON = 0.02


class Gate:
    """Holds the model back until everybody has been taken in or refused once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.heard = 0
        self.most_at_once = 0
        self._at_once = 0

    def hear(self) -> None:
        self.heard += 1
        if self.heard == CUSTOMERS:
            self.open.set()

    def respond(self, request: Received) -> Script:
        return stalled(echo(request), self.open, after=0)


async def insist(server: Server, number: int, gate: Gate, chance: random.Random) -> Counter[str]:
    """Write until everything was acknowledged; how often which word was said to that.

    Who is refused comes again with the same message under the same id.
    """
    person = Person(id=f"cus_{number}", role=Role.CUSTOMER, name=f"Customer {number}")
    thread = await server.thread(person)
    said: Counter[str] = Counter()
    frames: list[Frame] = []
    async with server.chat(person) as chat:
        await chat.follow(thread)
        for which in range(EACH):
            text = f"{number} asks {which}"
            while True:
                await chat.write(thread, text, f"m{which}")
                frames += await chat.until(lambda frame: "ack" in frame or "error" in frame)
                word = frames[-1].get("error", {}).get("code") or frames[-1]["ack"]["status"]
                said[word] += 1
                gate.hear()
                if "ack" in frames[-1]:
                    break
                assert (word, frames[-1]["error"]["ref"]) == ("SYS_BUSY", f"m{which}")
                assert BACK_SOONEST <= frames[-1]["error"]["retry_after"] <= BACK_LATEST
                await asyncio.sleep(SOON * (1 + chance.random()))
            if chance.random() < 0.5:
                frames += await chat.turn()
        ended = {"RUN_FINISHED", "RUN_ERROR"}
        while sum(f.get("event", {}).get("type") in ended for f in frames) < EACH:
            frames += await chat.turn()
    asked = [f"{number} asks {which}" for which in range(EACH)]
    texts = transcript_of(frames).texts
    assert [text for role, text in texts if role == "user"] == asked
    answers = [text for role, text in texts if role == "assistant"]
    assert answers == [f"You said: {text}" for text in asked]
    said["waiting"] = sum("waiting" in frame for frame in frames)
    return said


async def test_every_message_is_answered_once_at_five_times_what_there_is_room_for(
    migrated_database: Callable[[], str],
) -> None:
    chance = random.Random(SEED)
    gate = Gate()
    async with running(
        migrated_database(),
        smart_support_turns_at_once=PLACES,
        smart_support_turns_waiting=WAITING,
    ) as server:
        server.model._respond = gate.respond
        runner, model = server.parts.runner, server.model
        seen: list[tuple[int, int]] = []

        async def watch() -> None:
            while True:
                seen.append((runner.running, runner.waiting))
                await asyncio.sleep(SOON / 4)

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(60):
            all_said = await asyncio.gather(
                *(
                    insist(server, number, gate, random.Random(chance.random()))
                    for number in range(CUSTOMERS)
                )
            )
        watching.cancel()
        await server.settled()

        assert len(model.requests) == CUSTOMERS * EACH
        assert (runner.running, runner.waiting) == (0, 0)
        ready = await server.http().get("/api/health")
        assert ready.status_code == 200
    said = sum(all_said, Counter())
    assert said["open"] + said["queued"] == CUSTOMERS * EACH
    assert said["SYS_BUSY"] >= CUSTOMERS - PLACES - WAITING
    assert max(running for running, _ in seen) == PLACES
    assert max(waiting for _, waiting in seen) == WAITING


async def test_who_waits_is_told_so_until_the_answer_begins(
    migrated_database: Callable[[], str],
) -> None:
    until = asyncio.Event()
    async with running(migrated_database(), smart_support_turns_at_once=1) as server:
        server.model.queue(stalled(says("First."), until, after=0), says("Second."))
        first, second = await server.thread(ADA), await server.thread(BOB)
        async with server.chat(ADA) as ada, server.chat(BOB) as bob:
            await ada.write(first, "First?")
            await server.model.received(1)
            await bob.follow(second)
            await bob.write(second, "Second?")

            (ack,) = [f["ack"] for f in await bob.until(lambda f: "waiting" in f) if "ack" in f]
            told = bob.frames[-1]["waiting"]
            until.set()
            (started,) = [
                frame["event"]
                for frame in await bob.turn()
                if frame.get("event", {}).get("type") == "RUN_STARTED"
            ]

    assert told == {"thread_id": second, "run_id": started["runId"], "before": 0}
    assert ack["status"] == "open"
    assert transcript_of(bob.frames).texts == [("user", "Second?"), ("assistant", "Second.")]
