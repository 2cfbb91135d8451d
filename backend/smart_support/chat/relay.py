"""What happens in a thread, told to the followers on other processes.

Notifications are hints: whoever gets one reads the log, which is the truth, and a look at it now
and then makes up for those that were lost. They go only where somebody follows the thread, since
those who do say so; mostly that is nobody, because a turn is answered where its customer is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import orjson
import structlog

from smart_support.agent.state import LiveText
from smart_support.chat.follow import Followers, Item, Waiting
from smart_support.errors import SupportError
from smart_support.events.records import Event, ThreadId

log = structlog.get_logger()

GATHER_SECONDS = 0.015
"""How long a hint waits for others, so that they go together."""

WANTED_SECONDS = 15.0
"""How long a process that says it follows a thread is believed."""

LOOK_SECONDS = 5.0
"""How often the log is looked at for what no hint told of."""

MAX_PIECE = 1_200
"""Characters in one notification: at most 8,000 bytes however they are escaped."""

MOST_FOLLOWED = 150
"""Threads that one notification says are followed: of 36 characters each, with their quotes."""

MAX_WAITING = 5_000


class Wire(Protocol):
    """Carries short texts to every process, this one included."""

    async def notify(self, payloads: Sequence[str]) -> bool: ...


class Relay:
    """Hands on what this process's turns say, and takes in what others' do."""

    def __init__(
        self,
        wire: Wire,
        followers: Followers,
        *,
        name: str,
        stop: Callable[[ThreadId], Any],
        last_seqs: Callable[[Sequence[ThreadId]], Awaitable[dict[ThreadId, int]]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` tells this process from others; `stop` cancels a thread's turn if it is here."""
        self._wire = wire
        self._followers = followers
        self._name = name
        self._stop = stop
        self._last_seqs = last_seqs
        self._sleep = sleep
        self._monotonic = monotonic
        self._waiting: list[dict[str, Any]] = []
        self._wake = asyncio.Event()
        self._broadcasts: dict[str, Callable[[str, Any], None]] = {}
        self._wanted: dict[ThreadId, float] = {}
        self._written: dict[ThreadId, tuple[int, float]] = {}
        """The last event that was written here, and when: for whoever began to follow by then,
        and was not known to yet."""
        followers.when_followed(self._want)
        followers.when_published(self.tell)

    def tell(self, thread_id: ThreadId, items: Iterable[Item]) -> None:
        """Hand on what happened in a thread here."""
        wanted = self._wanted_elsewhere(thread_id)
        for item in items:
            if isinstance(item, Event):
                self._written[thread_id] = item.seq, self._monotonic()
                if wanted:
                    self._say({"t": thread_id, "s": item.seq})
            elif isinstance(item, LiveText) and wanted:
                self._say_text(thread_id, item)
            elif isinstance(item, Waiting) and wanted:
                waits = {"i": item.turn_id, "r": item.run, "b": item.before}
                self._say({"t": thread_id, **waits})

    def cancel(self, thread_id: ThreadId) -> None:
        """Ask whoever answers in the thread to stop."""
        self._say({"t": thread_id, "c": 1})

    def broadcast(self, kind: str, what: Any) -> None:
        """Tell the other processes something that belongs to no thread: plain, and short."""
        self._say({"k": kind, "d": what})

    def when_broadcast(self, kind: str, take: Callable[[str, Any], None]) -> None:
        """Have `take` called with the name of the process that says something of this kind.

        It may raise KeyError, TypeError, ValueError for what it does not understand.
        """
        self._broadcasts[kind] = take

    def take(self, payload: str) -> None:
        """Take in what another process said; what is not understood is left alone."""
        try:
            told = orjson.loads(payload)
            if told.get("p") == self._name:
                return
            if "k" in told:
                if (take := self._broadcasts.get(told["k"])) is not None:
                    take(str(told["p"]), told["d"])
                return
            if "f" in told:
                for followed in told["f"]:
                    self._be_wanted(str(followed))
                return
            thread_id = str(told["t"])
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            log.warning("hint_not_understood")
            return
        if "s" in told:
            self._followers.hint(thread_id, int(told["s"]))
        elif "m" in told:
            self._followers.overhear(thread_id, LiveText(told["m"], told["o"], told["x"]))
        elif "b" in told:
            waits = Waiting(turn_id=str(told["i"]), run=int(told["r"]), before=int(told["b"]))
            self._followers.overhear(thread_id, waits)
        elif "w" in told:
            self._be_wanted(thread_id)
        elif "c" in told:
            self._stop(thread_id)

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        while True:
            await self._wake.wait()
            await self._sleep(GATHER_SECONDS)
            self._wake.clear()
            waiting, self._waiting = _joined(self._waiting), []
            # What cannot be sent is only a hint: `look` makes up for it.
            await self._wire.notify([orjson.dumps(one).decode() for one in waiting])

    async def look(self) -> None:
        """Look, again and again, whether the log has more than followers were told of."""
        while True:
            await self._sleep(LOOK_SECONDS)
            self._forget()
            followed = self._followers.followed()
            for place in range(0, len(followed), MOST_FOLLOWED):
                self._say({"f": followed[place : place + MOST_FOLLOWED]})
            await self.catch_up()

    async def catch_up(self) -> None:
        """Tell all followers how far the log of their thread is."""
        followed = self._followers.followed()
        if not followed:
            return
        try:
            for thread_id, seq in (await self._last_seqs(followed)).items():
                self._followers.hint(thread_id, seq)
        except SupportError as error:
            log.warning("look_failed", code=error.code)

    def _want(self, thread_id: ThreadId) -> None:
        self._say({"t": thread_id, "w": 1})

    def _be_wanted(self, thread_id: ThreadId) -> None:
        self._wanted[thread_id] = self._monotonic() + WANTED_SECONDS
        if (written := self._written.get(thread_id)) is not None:
            self._say({"t": thread_id, "s": written[0]})
        writing = self._followers.written(thread_id)
        if writing is not None and self._followers.writes_here(thread_id):
            self._say_text(thread_id, writing)

    def _wanted_elsewhere(self, thread_id: ThreadId) -> bool:
        return self._monotonic() < self._wanted.get(thread_id, 0.0)

    def _forget(self) -> None:
        """Forget who did not ask again, and what everybody has looked for since."""
        now = self._monotonic()
        self._written = {
            thread: (seq, at)
            for thread, (seq, at) in self._written.items()
            if now - at < LOOK_SECONDS
        }
        self._wanted = {thread: until for thread, until in self._wanted.items() if now < until}

    def _say_text(self, thread_id: ThreadId, item: LiveText) -> None:
        for place in range(0, max(len(item.text), 1), MAX_PIECE):
            piece = item.text[place : place + MAX_PIECE]
            self._say({"t": thread_id, "m": item.message_id, "o": item.offset + place, "x": piece})

    def _say(self, told: dict[str, Any]) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(told | {"p": self._name})
            self._wake.set()


def _joined(waiting: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same in fewer: words of one answer that follow each other, the newest number only."""
    joined: list[dict[str, Any]] = []
    of_thread: dict[ThreadId, dict[str, Any]] = {}
    for told in waiting:
        if "t" not in told:
            joined.append(told)
            continue
        last = of_thread.get(told["t"])
        if last is not None and "s" in told and "s" in last:
            last["s"] = max(last["s"], told["s"])
        elif (
            last is not None
            and "m" in told
            and last.get("m") == told["m"]
            and last["o"] + len(last["x"]) == told["o"]
            and len(last["x"]) + len(told["x"]) <= MAX_PIECE
        ):
            last["x"] += told["x"]
        elif not (last is not None and "w" in told and "w" in last):
            of_thread[told["t"]] = told
            joined.append(told)
    return joined
