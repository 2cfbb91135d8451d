"""The wire of the chat socket: uvicorn's, held to bounds that a peer cannot leave.

uvicorn leaves two things to the peer. What was written to one that does not read is waited for
before its connection is let go, without end. And pings, pongs and pieces of messages are taken as
they come, though each costs what a message does and an answer to a ping takes memory until it is
read.
"""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from smart_support.chat.limits import FrameBucket

RATE, BURST = 100.0, 1_000
"""Frames of the protocol itself (pings, pongs, pieces) a second, and at once."""
CLOSE_TOO_MANY = 4429
LINGER_SECONDS = 12.0
"""How long a connection may take to end: longer than uvicorn waits for the answer to a close."""


class Wire(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._control: FrameBucket | None = None
        self._last_resort: asyncio.TimerHandle | None = None

    def start_keepalive(self) -> None:
        """Begin to ping; the handshake is over, and what it was about is not needed any more."""
        super().start_keepalive()
        del self.request, self.response

    def handle_ping(self) -> None:
        """Count it, and answer."""
        if not self._too_many():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Count it: one that nobody asked for is allowed too."""
        if not self._too_many():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Count it: an empty piece counts nothing towards the size of its message."""
        if not self._too_many():
            super().handle_cont(event)

    def keepalive_timeout(self) -> None:
        """Let a peer go that does not answer pings."""
        super().keepalive_timeout()
        self._let_go()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        """Let the peer go, since nobody speaks to it any more."""
        super().on_task_complete(task)
        self._let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be done."""
        super().connection_lost(exc)
        if self._last_resort is not None:
            self._last_resort.cancel()
        self._last_resort = None

    def _too_many(self) -> bool:
        if self.close_sent:
            return True
        if self._control is None:  # most sockets never get so far
            self._control = FrameBucket(RATE, BURST)
        if not self._control.take():
            return False
        self.conn.fail(CLOSE_TOO_MANY, "too many frames")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self._let_go()
        return True

    def _let_go(self) -> None:
        """End the connection: at once if the peer takes nothing, else once it had its time."""
        if self.disconnected or self._last_resort is not None:
            return
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self._last_resort = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
