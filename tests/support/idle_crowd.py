"""Many idle chat sockets in a process of their own: `python -m tests.support.idle_crowd PORT MANY`.

The token is read from the first line of standard input; "ready" is written once all are signed in,
and they are closed when standard input ends. Pings are answered, as RFC 6455 asks for.
"""

import asyncio
import json
import resource
import sys

from tests.support.raw_socket import HANDSHAKE, PING, PONG, frame

AT_ONCE = 100
PER_ADDRESS = 20_000
"""An address has some 28,000 ports for connections to one other."""


class Idle(asyncio.Protocol):
    """One socket, in as few bytes as possible."""

    def __init__(self, port: int, token: str) -> None:
        self.signed_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._greeting = HANDSHAKE.format(host=f"127.0.0.1:{port}", more="").encode()
        self._hello = frame(json.dumps({"type": "hello", "token": token}).encode())
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        if self.signed_in.done():
            if data[0] & 0xF == PING:
                self._transport.write(frame(data[2 : 2 + data[1]], PONG))
            return
        self._heard += data
        if b"\r\n\r\n" in self._heard and self._hello:
            self._transport.write(self._hello)
            self._hello = b""
        if b'"ready"' in self._heard:
            self._heard = b""
            self.signed_in.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.signed_in.done():
            self.signed_in.set_exception(ConnectionError("closed before it was signed in"))


async def main(port: int, many: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    token = sys.stdin.readline().strip()
    loop, places = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> asyncio.Transport:
        async with places:
            transport, idle = await loop.create_connection(
                lambda: Idle(port, token),
                "127.0.0.1",
                port,
                local_addr=(f"127.0.0.{2 + number // PER_ADDRESS}", 0),
            )
            await idle.signed_in
        return transport

    opened = await asyncio.gather(*(one(number) for number in range(many)))
    print("ready", flush=True)  # noqa: T201 - it is how we are heard
    await asyncio.to_thread(sys.stdin.read)
    for transport in opened:
        transport.abort()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
