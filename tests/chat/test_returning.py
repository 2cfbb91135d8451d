"""Who was refused comes in before who comes for the first time, and nobody waits for the gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_support.chat.places import AGAIN_SOONEST, BACK_LATEST, BACK_SOONEST, Places
from smart_support.chat.returning import KEPT, KNOWN, MOST, Returning


def test_who_is_refused_again_stays_before_those_behind_it() -> None:
    returning = Returning()
    assert returning.before("anybody", 0.0) == 0
    for name, due in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        returning.tell(name, due)
    returning.tell("a", 2.5)

    assert [returning.before(name, 2.0) for name in ("a", "b", "c", "d")] == [0, 1, 2, 3]
    returning.came("b")
    returning.came("d")
    assert [returning.before(name, 2.0) for name in ("a", "c", "d")] == [0, 1, 2]


def test_who_does_not_come_is_not_waited_for_and_keeps_its_place_for_a_while() -> None:
    returning = Returning()
    returning.tell("gone", 1.0)
    returning.tell("late", 2.0)

    assert returning.before("new", 1.0 + KEPT) == 2
    assert returning.before("new", 1.5 + KEPT) == 1
    returning.tell("new", 100.0)
    assert returning.before("late", 1.0 + KNOWN) == 0
    assert returning.before("late", 2.5 + KNOWN) == 1, "now it is one like all others"


def test_no_more_are_known_than_may_be() -> None:
    returning = Returning()
    for number in range(MOST + 5):
        returning.tell(str(number), 1.0)
    returning.tell("0", -KEPT)

    assert returning.before(str(MOST), 0.5) == returning.before("anybody", 0.5) == MOST - 1


def full() -> tuple[Places, list[float]]:
    """One place and two in line, all claimed, at a speed of one a second, and the clock."""
    now = [0.0]
    places = Places(1, 2, monotonic=lambda: now[0])
    for _ in range(3):
        places.ask()
    while now[0] < 30.0:
        now[0] += 1.0
        places.give_up(next(iter(places._taken)))
        places.ask()
    return places, now


def give_up(places: Places, times: int = 1) -> None:
    for _ in range(times):
        places.give_up(next(iter(places._taken)))


def wait(places: Places, thread_id: str) -> float:
    return places.busy("full", thread_id).wait_seconds() or 0.0


def test_room_in_the_line_is_for_who_was_refused() -> None:
    places, _ = full()
    assert places.full("a")
    told = wait(places, "a")
    give_up(places)

    assert places.full("b"), "room for one, and `a` comes before"
    assert wait(places, "b") > told / 2
    assert not places.full("a")
    with places.promised("a"):
        places.ask()
    assert places.full("a"), "it has had it"
    give_up(places)
    assert places.full("c"), "`b` comes before"
    assert not places.full("b")


def test_a_place_that_is_free_is_kept_for_nobody() -> None:
    places, _ = full()
    for at in range(5):
        wait(places, str(at))
    give_up(places, 2)
    assert places.full("b")
    give_up(places)
    assert not places.full("b")


def test_room_is_not_kept_for_who_does_not_come() -> None:
    places, now = full()
    told = wait(places, "a")
    give_up(places)
    now[0] += told + KEPT
    assert places.full("b")
    now[0] += 0.1
    assert not places.full("b")


def test_who_finds_room_that_is_for_others_waits_only_for_those_beyond_it() -> None:
    places, _ = full()
    told = [wait(places, str(at)) for at in range(6)]
    a_turn = told[2] - told[1]
    give_up(places, 2)

    assert told == pytest.approx([told[0] + at * a_turn for at in range(6)])
    assert a_turn == pytest.approx(1.0, rel=0.1)
    assert wait(places, "a") == pytest.approx(told[-1] + a_turn - 2 * a_turn, rel=0.15)


def test_who_is_refused_again_is_not_told_to_come_every_second() -> None:
    places, _ = full()
    first = wait(places, "a")

    assert first < AGAIN_SOONEST
    assert wait(places, "a") == AGAIN_SOONEST
    with places.promised("a"):
        pass
    assert wait(places, "a") == pytest.approx(first)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["come", "answer", "wait"]), st.integers(0, 6)), max_size=60
    )
)
def test_nobody_is_refused_while_a_place_is_free_nor_told_nonsense(
    steps: list[tuple[str, int]],
) -> None:
    places, now = full()
    for step, number in steps:
        if step == "wait":
            now[0] += number
        elif step == "answer":
            give_up(places, min(1, places.taken))
        elif places.full(str(number)):
            assert places.taken + places.waiting >= 1, "somebody has the only place"
            assert BACK_SOONEST <= wait(places, str(number)) <= BACK_LATEST
        else:
            with places.promised(str(number)):
                places.ask()
            assert places.taken + places.waiting <= 3
