"""The wires of requests and of the chat socket: uvicorn's, held to bounds that no peer can leave.

uvicorn leaves three things to the peer. How long the head of a request is. What was written to a
socket that does not read is waited for before its connection is let go, without end. And pings,
pongs and pieces of messages are taken as they come, though each costs what a message does and an
answer to a ping takes memory until it is read.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from smart_support.chat.limits import FrameBucket

RATE, BURST = 100.0, 1_000
"""Frames of the protocol itself (pings, pongs, pieces) a second, and at once."""
CLOSE_TOO_MANY = 4429
LINGER_SECONDS = 12.0
"""How long a connection may take to end: longer than uvicorn waits for the answer to a close."""

MOST_HEAD = 64 * 1024
"""Bytes of a request's line and headers. Of one that came together with the end of the request
before it, what was read at once with that (at most a quarter of a megabyte) may be beside them."""


class Requests(HttpToolsProtocol):
    """One connection on which requests come, until it becomes a socket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0
        self._unread = 0
        self._reading_head = self._ended = False

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, and no more of a head that has no end."""
        self._ended = False
        super().data_received(data)
        if not self._reading_head or self._ended:  # it was another's body for the most part
            self._unread = 0
            return
        # A header is counted when it is whole; until then the parser keeps what there is of it.
        self._unread += len(data)
        if self._unread > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """Count anew: another request begins."""
        super().on_message_begin()
        self._head = 0
        self._reading_head = True

    def on_url(self, url: bytes) -> None:
        """Count a piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; those behind a body are among them."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._reading_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take note that the request is whole."""
        self._ended = True
        super().on_message_complete()

    def _count(self, more: int) -> None:
        self._head += more
        if self._head > MOST_HEAD:
            # The parser calls this, and what it calls can only raise: it is answered with 400.
            raise ValueError("the head of the request is too long")


class Wire(WebSocketsSansIOProtocol):
    """One socket."""

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
