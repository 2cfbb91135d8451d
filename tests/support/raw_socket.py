"""A WebSocket spoken byte by byte, for what no well-behaved client would send."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

HANDSHAKE = (
    "GET /api/chat HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    masked: bool = True,
    reserved: int = 0,
    length: int | None = None,
    wide: int | None = None,
) -> bytes:
    """One frame, as RFC 6455 has it, or as it forbids.

    `length` is what is claimed instead of the real one; `wide` (16 or 64) writes it in so many
    bits although it needs fewer.
    """
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if wide == 64 or (wide is None and size > 0xFFFF):
        head += bytes([mask_bit | 127]) + struct.pack("!Q", size)
    elif wide == 16 or size > 125:
        head += bytes([mask_bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask_bit | size])
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


class RawSocket:
    """A TCP connection to the chat's port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def upgrade(self, host: str, more: str = "") -> bytes:
        """Shake hands; the status line."""
        self.writer.write(HANDSHAKE.format(host=host, more=more).encode("latin-1"))
        answer = await self.reader.readuntil(b"\r\n\r\n")
        return answer.split(b"\r\n", 1)[0]

    async def send(self, *raw: bytes) -> None:
        """Write bytes; that the server has hung up meanwhile is no matter."""
        try:
            for piece in raw:
                self.writer.write(piece)
                await self.writer.drain()
        except ConnectionError:
            pass

    async def ended(self, within: float = 15.0) -> bytes:
        """Everything until the server closes or hangs up; TimeoutError if it does not."""
        said = b""
        async with asyncio.timeout(within):
            try:
                while close_code(said) is None and (piece := await self.reader.read(65_536)):
                    said += piece
            except ConnectionError:
                pass
        return said


def close_code(said: bytes) -> int | None:
    """The code of the close frame at the end of what a server said; None if there is none."""
    for place in range(len(said) - 4, -1, -1):
        if said[place] == 0x88 and said[place + 1] == len(said) - place - 2:
            return int(struct.unpack("!H", said[place + 2 : place + 4])[0])
    return None


@asynccontextmanager
async def raw_socket(address: str, *, buffer: int | None = None) -> AsyncIterator[RawSocket]:
    """A connection to `address`; `buffer` is how many bytes our side takes before it is read."""
    parts = urlsplit(address)
    end = socket.socket()
    if buffer is not None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, (parts.hostname, parts.port))
    reader, writer = await asyncio.open_connection(sock=end)
    try:
        yield RawSocket(reader, writer)
    finally:
        writer.transport.abort()
