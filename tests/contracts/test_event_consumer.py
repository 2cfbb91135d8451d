"""What holds for everything that is derived from the log."""

import asyncio
from typing import TypeAlias

import pytest
from tests.contracts.conftest import Kind
from tests.support.histories import answered, events_of, message, thread_id

from smart_support.analytics.records import AnalyticsRecorder
from smart_support.conversations.lifecycle import ConversationTracker
from smart_support.events.consumer import EventGap

Consumer: TypeAlias = ConversationTracker | AnalyticsRecorder

ONE, TWO, THREE = (thread_id(number) for number in (1, 2, 3))
LOG = events_of(ONE, [*answered("t1"), *answered("t2")])


@pytest.fixture(params=["tracker", "recorder"])
def consumer(request: pytest.FixtureRequest, kind: Kind) -> Consumer:
    found: Consumer = getattr(kind, request.param)
    return found


async def test_has_taken_in_nothing_of_a_new_thread(consumer: Consumer) -> None:
    assert (await consumer.applied([ONE]))[ONE] == 0


async def test_remembers_how_far_it_has_read(consumer: Consumer) -> None:
    await consumer.apply({ONE: LOG[:3]})
    assert (await consumer.applied([ONE]))[ONE] == 3

    await consumer.apply({ONE: LOG[3:]})
    assert (await consumer.applied([ONE]))[ONE] == len(LOG)
    assert (await consumer.applied([TWO]))[TWO] == 0


async def test_nothing_to_take_in_is_nothing_taken_in(consumer: Consumer) -> None:
    await consumer.apply({ONE: []})

    assert (await consumer.applied([ONE]))[ONE] == 0


async def test_goes_on_from_what_it_is_given_again(consumer: Consumer) -> None:
    await consumer.apply({ONE: LOG[:5]})
    await consumer.apply({ONE: LOG[2:4]})
    await consumer.apply({ONE: LOG[1:7]})

    assert (await consumer.applied([ONE]))[ONE] == 7


@pytest.mark.parametrize(
    ("before", "given", "expected", "found"),
    [(0, LOG[1:3], 1, 2), (2, LOG[4:], 3, 5), (2, [*LOG[2:4], *LOG[5:]], 5, 6)],
    ids=["at the beginning", "before", "between"],
)
async def test_takes_in_nothing_if_something_is_missing(
    consumer: Consumer, before: int, given: list, expected: int, found: int
) -> None:
    await consumer.apply({ONE: LOG[:before]})

    with pytest.raises(EventGap) as caught:
        await consumer.apply({ONE: given})

    assert (caught.value.expected, caught.value.found) == (expected, found)
    assert caught.value.code == "CONV_EVENT_GAP"
    assert (await consumer.applied([ONE]))[ONE] == before


async def test_refuses_the_events_of_another_thread(consumer: Consumer) -> None:
    with pytest.raises(ValueError, match="event 1 is of thread"):
        await consumer.apply({TWO: LOG[:1]})

    assert (await consumer.applied([ONE]))[ONE] == (await consumer.applied([TWO]))[TWO] == 0


async def test_takes_in_several_threads_or_none_of_them(consumer: Consumer) -> None:
    logs = {name: events_of(name, answered()) for name in (ONE, TWO, THREE)}
    await consumer.apply({ONE: logs[ONE][:2]})

    with pytest.raises(EventGap):
        await consumer.apply({ONE: logs[ONE], TWO: logs[TWO], THREE: logs[THREE][1:]})
    assert await consumer.applied([ONE, TWO, THREE]) == {ONE: 2, TWO: 0, THREE: 0}

    await consumer.apply({**logs, THREE: []})
    assert await consumer.applied([ONE, TWO, THREE]) == {
        ONE: len(logs[ONE]),
        TWO: len(logs[TWO]),
        THREE: 0,
    }


async def test_who_takes_in_several_does_not_wait_for_others_in_circles(
    consumer: Consumer,
) -> None:
    names = [thread_id(number) for number in range(1, 9)]
    logs = {name: events_of(name, answered()) for name in names}

    async with asyncio.timeout(20):
        await asyncio.gather(
            *(
                consumer.apply({name: logs[name][:end] for name in order})
                for end in (1, 2, 3)
                for order in (names, names[::-1], names[::2] + names[1::2])
            )
        )

    assert await consumer.applied(names) == dict.fromkeys(names, 3)


async def test_knows_which_threads_it_is_behind(kind: Kind, consumer: Consumer) -> None:
    logs = {name: events_of(name, answered()) for name in (ONE, TWO, THREE)}
    for name, log in logs.items():
        await kind.logs.open(name)
        await kind.logs.write(log)
    await kind.logs.open(thread_id(4))
    await consumer.apply({TWO: logs[TWO]})
    await consumer.apply({THREE: logs[THREE][:1]})

    assert await consumer.behind(10) == [ONE, THREE]
    assert await consumer.behind(1) == [ONE]

    await consumer.apply({ONE: logs[ONE]})
    await consumer.rebuild(THREE)
    assert await consumer.behind(10) == []


async def test_rebuilds_a_thread_from_its_whole_log(kind: Kind, consumer: Consumer) -> None:
    await kind.logs.open(ONE)
    await kind.logs.write(LOG)

    await consumer.rebuild(ONE)

    assert (await consumer.applied([ONE]))[ONE] == len(LOG)


async def test_forgets_a_thread_whose_log_is_gone(kind: Kind, consumer: Consumer) -> None:
    await kind.logs.open(ONE)
    await kind.logs.write(LOG)
    await consumer.apply({ONE: LOG})
    await kind.logs.drop(ONE)

    await consumer.rebuild(ONE)
    await consumer.rebuild(TWO)

    assert (await consumer.applied([ONE]))[ONE] == (await consumer.applied([TWO]))[TWO] == 0


async def test_counts_once_what_several_give_at_the_same_time(consumer: Consumer) -> None:
    await asyncio.gather(*(consumer.apply({ONE: LOG[:end]}) for end in (4, 8, 6, 8, 2)))

    assert (await consumer.applied([ONE]))[ONE] == len(LOG)


async def test_threads_do_not_wait_for_each_other_in_circles(consumer: Consumer) -> None:
    logs = [events_of(thread_id(n), [message(), *answered()][n % 2 :]) for n in range(1, 17)]

    async with asyncio.timeout(20):
        await asyncio.gather(*(consumer.apply({log[0].thread_id: log}) for log in logs))

    assert [(await consumer.applied([log[0].thread_id]))[log[0].thread_id] for log in logs] == [
        len(log) for log in logs
    ]
