"""What processes know of each other: everything that was said lately, and nothing that was not."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chat.test_relay import Node, Wire

from smart_support.api.installation import together
from smart_support.chat import peers as peers_module
from smart_support.chat.peers import BELIEVED_SECONDS, Peers
from smart_support.resilience.origin import BreakerState, OriginState

SHOP, POST = "https://shop.example", "https://post.example"


def state(origin: str, running: int = 0, **breakers: tuple[str, float]) -> OriginState:
    return OriginState(
        origin,
        running,
        0,
        10.0,
        {
            group: BreakerState(origin, group, name, retry_in)
            for group, (name, retry_in) in breakers.items()
        },
    )


class Process:
    """A process with its relay and what it says of APIs."""

    def __init__(self, wire: Wire, name: str, *states: OriginState) -> None:
        self.now = 1_000.0
        self.states: Sequence[OriginState] = states
        self.model: list[tuple[bool, str | None]] = []
        self.node = Node(wire, name)
        self.moved = asyncio.Event()
        self.peers = Peers(
            f"host:{name}", lambda: self.states, self.moved, monotonic=lambda: self.now
        )
        self.peers.join(self.node.relay, lambda ok, why: self.model.append((ok, why)))

    async def tell(self) -> None:
        self.peers.tell()
        await self.node.flush()


async def test_a_breaker_that_is_open_elsewhere_is_shown_with_where_it_is() -> None:
    wire = Wire()
    here = Process(wire, "a", state(SHOP, 2, orders=("closed", 0.0)))
    there = Process(wire, "b", state(SHOP, 3, orders=("open", 4.0)), state(POST, 1))
    await there.tell()
    here.now += 1.0

    known = here.peers.states()
    shop, post = together(known)

    assert list(known) == ["host:a", "host:b"]
    assert (shop.origin, shop.running, post.running) == (SHOP, 5, 1)
    (orders,) = shop.breakers
    assert (orders.state, orders.retry_in, orders.processes) == ("open", 3.0, ["host:b"])
    assert [(one.process, one.retry_budget) for one in shop.processes] == [
        ("host:a", 10.0),
        ("host:b", 10.0),
    ]


async def test_what_is_over_is_told_and_who_is_gone_is_forgotten() -> None:
    wire = Wire()
    here, there = Process(wire, "a"), Process(wire, "b", state(SHOP, orders=("open", 4.0)))
    await there.tell()
    there.states = [state(SHOP, orders=("closed", 0.0))]
    await there.tell()
    over = here.peers.states()["host:b"][0].breakers
    here.now += BELIEVED_SECONDS
    gone = here.peers.states()

    assert over == {}
    assert list(gone) == ["host:a"]


async def test_a_process_that_has_called_nobody_is_known_all_the_same() -> None:
    wire = Wire()
    here, there = Process(wire, "a"), Process(wire, "b")
    await there.tell()

    assert here.peers.states() == {"host:a": [], "host:b": []}


_names = st.text(min_size=1, max_size=200)


@given(
    origins=st.dictionaries(
        _names, st.dictionaries(_names, st.floats(0, 600), max_size=30), max_size=5
    )
)
async def test_everything_arrives_in_pieces_that_fit(
    origins: dict[str, dict[str, float]],
) -> None:
    wire = Wire()
    here, there = Process(wire, "a"), Process(wire, "b")
    there.states = [
        state(origin, **{group: ("open", wait) for group, wait in breakers.items()})
        for origin, breakers in origins.items()
    ]
    await there.tell()

    assert all(len(payload.encode()) < 8_000 for payload in wire.sent)
    found = {each.origin: set(each.breakers) for each in here.peers.states()["host:b"]}
    expected: dict[str, set[str]] = {}
    for origin, breakers in origins.items():  # names are cut, and may then be one
        expected.setdefault(origin[:120], set()).update(group[:120] for group in breakers)
    assert found == expected


async def test_the_model_is_told_of_and_not_told_back() -> None:
    wire = Wire()
    here, there = Process(wire, "a"), Process(wire, "b")

    there.peers.tell_model(ok=False, why="MODEL_UNAVAILABLE")
    there.peers.tell_model(ok=True, why=None)
    await there.node.flush()

    assert here.model == [(False, "MODEL_UNAVAILABLE"), (True, None)]
    assert there.model == []


async def test_what_is_heard_of_the_model_is_not_told_on() -> None:
    wire = Wire()
    here, there = Process(wire, "a"), Process(wire, "b")

    def tell_on(ok: bool, why: str | None) -> None:
        here.model.append((ok, why))
        here.peers.tell_model(ok=ok, why=why)

    here.peers.join(here.node.relay, tell_on)
    there.peers.tell_model(ok=False, why="MODEL_AUTH")
    there.peers.tell_model(ok=True, why=None)
    for _ in range(3):
        await there.node.flush()
        await here.node.flush()
    here.peers.tell_model(ok=False, why="MODEL_AUTH")  # its own finding is told
    await here.node.flush()

    assert [ok for ok, _ in here.model] == [False, True]
    assert there.model == [(False, "MODEL_AUTH")]


@pytest.mark.parametrize(
    "told",
    [
        {"k": "apis", "p": "x", "d": {}},
        {"k": "apis", "p": "x", "d": {"n": "x", "i": 1, "o": SHOP, "r": 0, "w": 0, "b": 0, "x": 5}},
        {
            "k": "apis",
            "p": "x",
            "d": {"n": "x", "i": 1, "o": SHOP, "r": 0, "w": 0, "b": 0, "x": [["g", "ajar", 1]]},
        },
        {"k": "apis", "p": "x", "d": None},
        {"k": "apis", "p": "x"},
        {"k": "model", "p": "x", "d": {}},
        {"k": "from the future", "p": "x", "d": {}},
        {"k": ["apis"], "p": "x", "d": {}},
        [],
        5,
    ],
)
async def test_what_is_not_understood_is_left_alone(told: Any) -> None:
    wire = Wire()
    here = Process(wire, "a", state(SHOP))

    here.node.relay.take(orjson.dumps(told).decode())

    assert not [one for one in together(here.peers.states()) if one.breakers]
    assert here.model == []


async def test_a_breaker_that_moves_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "TELL_SECONDS", 3_600.0)
    wire = Wire()
    here, there = Process(wire, "a"), Process(wire, "b", state(SHOP, orders=("open", 4.0)))
    telling = asyncio.create_task(there.peers.run())
    there.moved.set()

    async def until(found: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not found():
                await there.node.flush()
                await asyncio.sleep(0)

    await until(lambda: "host:b" in here.peers.states())
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)

    assert not there.moved.is_set()


async def test_alone_it_knows_of_itself() -> None:
    alone = Peers("host:1", lambda: [state(SHOP)], asyncio.Event())

    alone.tell()
    alone.tell_model(ok=False, why=None)

    assert [one.origin for one in alone.states()["host:1"]] == [SHOP]
