"""How many turns are answered at once, beside a simulated event loop: fewer when it is late."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.chat.pace import LATE, LEAST, SAMPLES, SEEN, Pace, Throughput
from smart_support.chat.places import MOMENT, Place, Places

MOST, WAITING = 128, 64


def interval(pace: Pace, late: float, *, taken: int | None = None, waiting: int = 1) -> int:
    """One interval that was so late throughout; how many may be answered at once after it."""
    for _ in range(SAMPLES):
        pace.take(late, taken=pace.at_once if taken is None else taken, waiting=waiting)
    return pace.at_once


class TestPace:
    def test_doubles_until_the_loop_is_late_and_takes_small_steps_from_then_on(self) -> None:
        pace = Pace(1_000)

        begun = [interval(pace, 0.0) for _ in range(2)]
        late = interval(pace, 2 * LATE)
        after = interval(pace, 0.0)

        assert begun == [2 * LEAST, 4 * LEAST]
        assert late == 4 * LEAST * 7 // 8
        assert after == late + math.isqrt(late)

    def test_takes_a_burst_for_a_burst(self) -> None:
        """What is late most of the time, but not all of it, is no queue that stands."""
        pace = Pace(MOST)

        for _ in range(SAMPLES - 1):
            pace.take(1.0, taken=LEAST, waiting=1)
        pace.take(0.0, taken=LEAST, waiting=1)

        assert pace.at_once == 2 * LEAST

    @pytest.mark.parametrize(
        ("late", "taken", "waiting"),
        [(0.0, LEAST, 0), (0.0, LEAST - 1, 1), (0.8 * LATE, LEAST, 1), (1.0, LEAST + 1, 1)],
        ids=["nobody waits", "places are free", "neither late nor early", "still too many"],
    )
    def test_stays_as_it_is(self, late: float, taken: int, waiting: int) -> None:
        assert interval(Pace(MOST), late, taken=taken, waiting=waiting) == LEAST

    @given(
        most=st.integers(1, 500),
        moments=st.lists(
            st.tuples(st.floats(-0.001, 2), st.integers(0, 600), st.integers(0, 5)), max_size=300
        ),
    )
    def test_never_leaves_its_bounds(
        self, most: int, moments: list[tuple[float, int, int]]
    ) -> None:
        pace = Pace(most)
        for late, taken, waiting in moments:
            before = pace.at_once
            more = pace.take(late, taken=taken, waiting=waiting)

            assert min(LEAST, most) <= pace.at_once <= most
            assert not more or pace.at_once >= before


class TestThroughput:
    @given(
        rate=st.floats(0.5, 200),
        other=st.floats(0.5, 200),
        pauses=st.lists(st.floats(0, 4), min_size=1, max_size=5),
    )
    def test_is_that_of_the_times_when_somebody_waited(
        self, rate: float, other: float, pauses: list[float]
    ) -> None:
        now = 0.0
        seen = Throughput(now)
        for pause in pauses:
            for step, waiting in ((1 / other, False), (1 / rate, True)):
                seen.see(now, waiting=waiting)
                for _ in range(math.ceil((6 if waiting else pause) / step)):
                    now += step
                    seen.see(now, waiting=waiting, ended=1)

        assert seen.per_second(0) == pytest.approx(rate, rel=0.3)

    def test_is_not_known_before_a_line_was_seen_for_a_while(self) -> None:
        seen = Throughput(0.0)
        seen.see(0.0, waiting=True)
        seen.see(SEEN / 2, waiting=True, ended=10)
        assert seen.per_second(1) is None
        seen.see(2 * SEEN, waiting=True, ended=10)
        assert seen.per_second(1) is not None
        assert seen.per_second(100) is None, "too few have ended to say"

    def test_is_forgotten(self) -> None:
        seen = Throughput(0.0)
        seen.see(0.0, waiting=True)
        seen.see(10.0, waiting=False, ended=50)
        assert seen.per_second(10) == pytest.approx(7.3, abs=2.5)
        seen.see(60.0, waiting=False)
        assert seen.per_second(10) is None


@dataclass
class Turn:
    """A customer's message: refused until it is taken in, and then answered in steps."""

    customer: int
    sent: float
    refused: int = 0
    accepted: float = 0.0
    begun: float = 0.0
    ended: float = 0.0
    steps: int = 0
    place: Place | None = None


@dataclass
class Process:
    """One event loop on one processor: what is ready is run in the order in which it became so.

    A turn is `steps` pieces of work of `work` seconds each, with `pause` seconds between them in
    which others work for it. Each customer asks again as soon as they have their answer.
    """

    steps: int
    work: float
    pause: float
    now: float = 0.0
    places: Places = field(init=False)
    ended: list[Turn] = field(default_factory=list)
    _due: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _ready: deque[tuple[float, Callable[[float], None]]] = field(default_factory=deque)
    _waiting: deque[Turn] = field(default_factory=deque)
    _number: "itertools.count[int]" = field(default_factory=itertools.count)
    _asking: bool = True

    def __post_init__(self) -> None:
        self.places = Places(MOST, WAITING, monotonic=lambda: self.now, chance=lambda: 0.5)
        self._at(MOMENT, self._measure)

    def _at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (when, next(self._number), what))

    def _measure(self, due: float) -> None:
        self.places.notice(self.now - due)
        self._at(self.now + MOMENT, self._measure)
        self._begin()

    def _send(self, turn: Turn) -> None:
        thread_id = str(turn.customer)
        if self.places.full(thread_id):
            turn.refused += 1
            back = self.places.busy("full", thread_id).wait_seconds()
            assert back is not None
            self._at(self.now + back, lambda _: self._send(turn))
            return
        turn.accepted = self.now
        with self.places.promised(thread_id):
            turn.place = self.places.ask()
        self._waiting.append(turn)
        self._begin()

    def _begin(self) -> None:
        while self._waiting and (place := self._waiting[0].place) and place.had:
            turn = self._waiting.popleft()
            turn.begun = self.now
            self._ready.append((self.now, lambda _, turn=turn: self._step(turn)))  # type: ignore[misc]

    def _step(self, turn: Turn) -> None:
        self.now += self.work
        turn.steps += 1
        if turn.steps < self.steps:
            self._at(self.now + self.pause, lambda _: self._step(turn))
            return
        assert turn.place is not None
        self.places.give_up(turn.place)
        turn.ended = self.now
        self.ended.append(turn)
        self._begin()
        if self._asking:
            self._send(Turn(turn.customer, self.now))

    def run(self, customers: int, seconds: float = 20.0) -> list[Turn]:
        """Have so many customers ask for so long, all from one moment on; what they were answered.

        Then nobody asks anything new, and what was asked is answered.
        """
        self.ended, self._asking = [], True
        until = self.now + seconds
        for number in range(customers):
            self._send(Turn(number, self.now))
        while self.now < until:
            self._turn()
        self._asking = False
        while self.places.taken or self.places.waiting or len(self._due) > 1:
            self._turn()
        return self.ended

    def _turn(self) -> None:
        if not self._ready:
            self.now = max(self.now, self._due[0][0])
        while self._due and self._due[0][0] <= self.now:
            when, _, what = heapq.heappop(self._due)
            self._ready.append((when, what))
        due, what = self._ready.popleft()
        what(due)


def fast() -> Process:
    """Whose model answers at once: 20 ms of work in each turn, and little besides."""
    return Process(steps=20, work=0.001, pause=0.002)


def slow() -> Process:
    """Whose model takes its time: the same work in four seconds."""
    return Process(steps=20, work=0.001, pause=0.2)


def longest(turns: list[Turn], since: Callable[[Turn], float]) -> float:
    return max(turn.ended - since(turn) for turn in turns)


class TestAProcess:
    def test_that_is_busy_answers_few_at_once_and_gets_as_much_done(self) -> None:
        process = fast()
        few, many = process.run(LEAST), process.run(MOST)

        assert process.places.at_once == LEAST
        assert len(many) >= 0.95 * len(few)
        assert longest(many, lambda turn: turn.begun) <= 1.1 * longest(few, lambda turn: turn.begun)

    def test_that_waits_for_its_model_answers_as_many_at_once_as_it_may(self) -> None:
        process = slow()
        turns = process.run(MOST)

        assert process.places.at_once == MOST
        assert longest(turns, lambda turn: turn.accepted) < 1.3 * 4.0

    def test_follows_its_model(self) -> None:
        process = fast()
        process.run(MOST)
        process.pause = 0.2
        process.run(MOST)
        slower = process.places.at_once
        process.pause = 0.002
        process.run(MOST)

        assert (slower, process.places.at_once) == (MOST, LEAST)

    @pytest.mark.parametrize("made", [fast, slow])
    def test_loses_nothing_at_five_times_what_it_takes_in_and_keeps_its_time(
        self, made: Callable[[], Process]
    ) -> None:
        """Nobody is refused at its capacity; beyond it, whoever is taken in is soon answered."""
        process = made()
        before = process.run(MOST)
        turns = process.run(5 * MOST)

        assert not any(turn.refused for turn in before)
        assert {turn.customer for turn in turns} == set(range(5 * MOST))
        for since in (lambda turn: turn.accepted, lambda turn: turn.begun):
            assert longest(turns, since) <= 2 * longest(before, since)
        # Who comes back when told finds room soon: not refused again and again.
        assert max(turn.refused for turn in turns) <= 5

    @pytest.mark.parametrize(
        ("made", "begins", "goes_on", "refused"), [(fast, 2.0, 1.1, 4), (slow, 3.5, 1.6, 7)]
    )
    def test_has_nobody_wait_much_longer_than_others_at_five_times_what_it_takes_in(
        self, made: Callable[[], Process], begins: float, goes_on: float, refused: int
    ) -> None:
        """The slow one answers in waves, and the same have most of the first ones."""
        process = made()
        turns = process.run(5 * MOST, seconds=240.0)

        seconds = max(turn.ended for turn in turns)
        share = 5 * MOST * seconds / len(turns)  # in which everybody could be answered once
        assert longest(turns, lambda turn: turn.sent) <= begins * share
        assert max(turn.refused for turn in turns) <= refused
        late = [turn for turn in turns if turn.sent > seconds / 2]
        assert longest(late, lambda turn: turn.sent) <= goes_on * share
