"""How many calls one API may have under way, so that a slow one holds up nobody but itself."""

import asyncio
from collections import deque


class BulkheadFull(Exception):
    """So many wait already that waiting makes no sense."""


class Bulkhead:
    """`places` for calls under way; `most_waiting` may wait for one, first come, first served."""

    __slots__ = ("_waiting", "most_waiting", "places", "running")

    def __init__(self, places: int, most_waiting: int = 1_000) -> None:
        self.places = places
        self.most_waiting = most_waiting
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self) -> bool:
        """Take a place if one is free and nobody waits."""
        if self.running >= self.places or self._waiting:
            return False
        self.running += 1
        return True

    async def wait(self) -> None:
        """Wait for a place and take it.

        Raises:
            BulkheadFull: too many wait.
        """
        if self.take():
            return
        if len(self._waiting) >= self.most_waiting:
            raise BulkheadFull
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # the place came together with the cancellation
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Free a place; who waits longest has it now."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
