"""The message limit is exact, and messages of one thread take few places."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.chat.limits import FewAtOnce, MessageLimiter
from smart_support.errors import RateLimited


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


def limiter(hand: Hand, limit: int = 3, window: float = 10.0) -> MessageLimiter:
    return MessageLimiter(limit, window, clock=hand)


def test_lets_as_many_in_as_the_limit_says_and_no_more(hand: Hand) -> None:
    gate = limiter(hand)
    for _ in range(3):
        gate.admit("a")

    with pytest.raises(RateLimited) as caught:
        gate.admit("a")

    assert caught.value.retry_after == 10.0


def test_says_exactly_when_there_is_room(hand: Hand) -> None:
    gate = limiter(hand, limit=1)
    gate.admit("a")
    hand.now += 7.5
    with pytest.raises(RateLimited) as caught:
        gate.admit("a")

    hand.now += caught.value.retry_after

    gate.admit("a")


def test_trying_too_early_does_not_make_the_wait_longer(hand: Hand) -> None:
    gate = limiter(hand, limit=1)
    gate.admit("a")
    for _ in range(9):
        hand.now += 1
        with pytest.raises(RateLimited):
            gate.admit("a")
    hand.now += 1

    gate.admit("a")


def test_threads_do_not_share(hand: Hand) -> None:
    gate = limiter(hand, limit=1)
    gate.admit("a")

    gate.admit("b")

    assert len(gate) == 2


def test_what_was_given_back_does_not_count(hand: Hand) -> None:
    gate = limiter(hand, limit=1)
    gate.give_back("a", gate.admit("a"))

    gate.admit("a")

    with pytest.raises(RateLimited):
        gate.admit("a")


def test_giving_back_an_old_one_keeps_the_newer_one(hand: Hand) -> None:
    """Two messages are on their way at once, and the first turns out to be a duplicate."""
    gate = limiter(hand, limit=2)
    first = gate.admit("a")
    hand.now += 6
    gate.admit("a")
    gate.give_back("a", first)
    hand.now += 5

    gate.admit("a")

    with pytest.raises(RateLimited) as caught:
        gate.admit("a")
    assert caught.value.retry_after == 5.0


def test_giving_back_what_counts_no_more_changes_nothing(hand: Hand) -> None:
    gate = limiter(hand, limit=1)
    first = gate.admit("a")
    hand.now += 10
    gate.admit("a")

    gate.give_back("a", first)
    gate.give_back("unknown", first)

    with pytest.raises(RateLimited):
        gate.admit("a")


def test_silent_threads_take_no_room(hand: Hand) -> None:
    gate = limiter(hand)
    for name in range(100):
        gate.admit(str(name))
    hand.now += 10

    gate.admit("last")

    assert len(gate) == 1


@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60),
    limit=st.integers(1, 5),
)
def test_no_window_ever_holds_more_than_the_limit(
    steps: list[tuple[int, bool]], limit: int
) -> None:
    hand = Hand()
    gate = MessageLimiter(limit, 10.0, clock=hand)
    stored: list[float] = []
    for quarter_seconds, duplicate in steps:
        hand.now += quarter_seconds / 4
        recent = [at for at in stored if hand.now - at < 10.0]
        try:
            admitted = gate.admit("a")
        except RateLimited as refused:
            free_at = hand.now + refused.retry_after
        else:
            free_at = None
        if free_at is not None:
            assert len(recent) == limit
            assert free_at == min(recent) + 10.0
            continue
        assert len(recent) < limit
        if duplicate:
            gate.give_back("a", admitted)
        else:
            stored.append(admitted)


class TestFewAtOnce:
    async def test_lets_so_many_in_at_once_and_the_others_in_order(self) -> None:
        places, inside, order, most = FewAtOnce(2), 0, list[int](), 0

        async def one(number: int) -> None:
            nonlocal inside, most
            async with places.of("a"):
                inside += 1
                most = max(most, inside)
                order.append(number)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(one(number) for number in range(10)))

        assert most == 2
        assert order == list(range(10))

    async def test_threads_do_not_wait_for_each_other(self) -> None:
        places = FewAtOnce(1)
        async with places.of("a"), asyncio.timeout(1), places.of("b"):
            assert len(places) == 2

    async def test_who_gives_up_leaves_nothing_behind(self) -> None:
        places = FewAtOnce(1)
        async with places.of("a"):
            waiting = asyncio.create_task(places.of("a").__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert len(places) == 0
