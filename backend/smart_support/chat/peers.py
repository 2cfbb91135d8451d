"""What the processes of one installation know of APIs and model, told to each other.

Each tells its own: how it stands with the company's APIs again and again and when a breaker moves,
and at once when the model begins to fail or works again. What was said is believed for a while;
who is gone says nothing more, and is forgotten.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from smart_support.resilience.breaker import State
from smart_support.resilience.origin import BreakerState, OriginState

log = structlog.get_logger()

TELL_SECONDS = 5.0
"""How often a process says how it stands."""

BELIEVED_SECONDS = 15.0
"""For how long what a process said is taken to be so."""

MOST_PROCESSES = 200
MOST_ORIGINS = 200
_LONGEST_NAME = 120
_AT_ONCE = 8
"""Breakers in one notification: with names of that length, within its 8,000 bytes."""


class Wire(Protocol):
    """Carries plain data to the other processes; see `Relay`."""

    def broadcast(self, kind: str, what: Any) -> None: ...

    def when_broadcast(self, kind: str, take: Callable[[str, Any], None]) -> None: ...


@dataclass(slots=True)
class _Peer:
    """What another process said last, and when."""

    label: str
    number: int
    at: float
    origins: dict[str, OriginState] = field(default_factory=dict)


class Peers:
    """Knows what the other processes have found; alone, it knows of this one only."""

    def __init__(
        self,
        label: str,
        states: Callable[[], Sequence[OriginState]],
        moved: asyncio.Event,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`label` is how people know this process; `states` how it stands with each API.

        `moved` is set by whoever moves a breaker, and cleared here.
        """
        self._label = label
        self._states = states
        self._monotonic = monotonic
        self._wire: Wire | None = None
        self._hearing = False
        self._moved = moved
        self._number = 0
        self._known: dict[str, _Peer] = {}

    def join(self, wire: Wire, hear_model: Callable[[bool, str | None], None]) -> None:
        """Hear the others on `wire`; `hear_model` is told of the model: is it well, and why not."""
        self._wire = wire
        wire.when_broadcast("apis", self._take)

        def model(_: str, what: Any) -> None:
            ok, why = bool(what["ok"]), what.get("why")
            self._hearing = True
            try:
                hear_model(ok, None if why is None else str(why)[:_LONGEST_NAME])
            finally:
                self._hearing = False

        wire.when_broadcast("model", model)

    def tell_model(self, *, ok: bool, why: str | None) -> None:
        """Tell the others how the model was found here.

        What was just heard is not told on: two quick changes would go round for ever.
        """
        if self._wire is not None and not self._hearing:
            self._wire.broadcast("model", {"ok": ok, "why": why})

    async def run(self) -> None:
        """Tell the others how this process stands, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):  # nothing moved, which is worth saying, too
                async with asyncio.timeout(TELL_SECONDS):
                    await self._moved.wait()
            self._moved.clear()
            self.tell()

    def tell(self) -> None:
        """Tell the others how this process stands now."""
        if self._wire is None:
            return
        self._number += 1
        for piece in _pieces(self._states()):
            self._wire.broadcast("apis", {"n": self._label, "i": self._number, **piece})

    def states(self) -> Mapping[str, Sequence[OriginState]]:
        """Each process, this one first, with the APIs that it has called."""
        now = self._monotonic()
        self._known = {
            name: peer for name, peer in self._known.items() if now - peer.at < BELIEVED_SECONDS
        }
        found: dict[str, Sequence[OriginState]] = {self._label: list(self._states())}
        for name, peer in sorted(self._known.items(), key=lambda item: item[1].label):
            label = peer.label if peer.label not in found else f"{peer.label} ({name})"
            found[label] = [_aged(origin, now - peer.at) for origin in peer.origins.values()]
        return found

    def _take(self, name: str, what: Any) -> None:
        peer = self._known.get(name)
        if peer is None and len(self._known) >= MOST_PROCESSES:
            return
        number = int(what["i"])
        if peer is None or peer.number != number:
            peer = _Peer(str(what["n"])[:_LONGEST_NAME], number, 0.0)
        peer.at = self._monotonic()
        if "o" in what and len(peer.origins) < MOST_ORIGINS:
            origin = _origin(what)
            before = peer.origins.get(origin.origin)
            if before is not None:  # the rest of its breakers
                origin = replace(origin, breakers={**before.breakers, **origin.breakers})
            peer.origins[origin.origin] = origin
        self._known[name] = peer


def _pieces(states: Sequence[OriginState]) -> Iterator[dict[str, Any]]:
    """The states in pieces that fit into a notification. A closed breaker is not worth a word."""
    if not states:
        yield {}
    for state in states[:MOST_ORIGINS]:
        moved = [one for one in state.breakers.values() if one.state != "closed"]
        for place in range(0, max(len(moved), 1), _AT_ONCE):
            some = moved[place : place + _AT_ONCE]
            yield {
                "o": state.origin[:_LONGEST_NAME],
                "r": state.running,
                "w": state.waiting,
                "b": round(state.retry_budget, 2),
                "x": [
                    [one.group[:_LONGEST_NAME], one.state, round(one.retry_in, 2)] for one in some
                ],
            }


def _origin(what: Mapping[str, Any]) -> OriginState:
    name = str(what["o"])
    breakers = {}
    for group, state, retry_in in what["x"]:
        breakers[str(group)] = BreakerState(name, str(group), State(state).value, float(retry_in))
    return OriginState(name, int(what["r"]), int(what["w"]), float(what["b"]), breakers)


def _aged(origin: OriginState, seconds: float) -> OriginState:
    breakers = {
        group: replace(breaker, retry_in=max(0.0, breaker.retry_in - seconds))
        for group, breaker in origin.breakers.items()
    }
    return replace(origin, breakers=breakers)
