"""Serve the shop on a socket that is bound already."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

GRACE = 3  # seconds for calls that still run when the shop closes


def bind(host: str, port: int) -> socket.socket:
    """Take `port` of `host`, any free one for 0.

    Raises:
        OSError: the port is taken, or the host is not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL under which `listener` is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HangUpProtocol(H11Protocol):
    """HTTP/1.1 that lets the application close the connection: ASGI has no word for it."""

    def connection_made(self, transport: Any) -> None:
        """Put `hang_up` into the scope of every request of this connection."""
        super().connection_made(transport)
        app = self.app

        async def app_that_can_hang_up(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "hang_up": transport.close}, receive, send)

        self.app = app_that_can_hang_up


class Server(uvicorn.Server):
    """A server that says when it listens and leaves signals to the program around it."""

    def __init__(self, app: Any, on_listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HangUpProtocol,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._on_listening()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield

    def stop(self) -> None:
        """Answer what still runs, then return from `serve`."""
        self.should_exit = True
