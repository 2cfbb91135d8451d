"""Reading an answer with a limit that holds while it comes in and after it was inflated."""

import zlib
from collections.abc import AsyncIterable

import httpx

_SLACK = 64 * 1024
"""Bytes by which a compressed body may be longer than what it stands for may be."""

_GZIP_START = b"\x1f\x8b"


class TooLarge(Exception):
    """More than may be read; what came before is dropped."""


class Unreadable(Exception):
    """It does not have the form that it says it has."""


async def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """The whole body, inflated. Memory stays within `max_bytes` and one piece of the network.

    Raises:
        TooLarge: it has more than `max_bytes` bytes.
        Unreadable: it is encoded in a way that is not known, or wrongly.
        httpx.TransportError: it breaks off.
    """
    inflaters = _inflaters(response.headers)
    limit = max_bytes + _SLACK if inflaters else max_bytes
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise TooLarge(f"{announced[:18]} bytes announced, {limit} allowed")
    pieces: list[bytes] = []
    received = inflated = 0
    async for piece in _pieces(response):
        received += len(piece)
        if received > limit:
            raise TooLarge(f"more than {limit} bytes")
        whole = piece
        for inflater in inflaters:
            whole = inflater.inflate(whole, max_bytes - inflated)
        inflated += len(whole)
        pieces.append(whole)
    if received and not all(inflater.finished for inflater in inflaters):
        raise httpx.RemoteProtocolError("the compressed body breaks off")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _pieces(response: httpx.Response) -> AsyncIterable[bytes]:
    stream = response.stream
    if isinstance(stream, AsyncIterable):
        async for piece in stream:
            yield piece


def _inflaters(headers: httpx.Headers) -> list["_Inflater"]:
    encodings = headers.get("content-encoding")
    if not encodings:
        return []
    names = [name.strip().lower() for name in encodings.split(",")]
    known = [_Inflater(name) for name in names if name not in {"identity", ""}]
    if len(known) > 2:
        raise Unreadable("encoded more than twice")
    return known[::-1]


class _Inflater:
    """Inflates gzip (of several members, too) or deflate, with or without its zlib header."""

    def __init__(self, name: str) -> None:
        if name not in {"gzip", "x-gzip", "deflate"}:
            raise Unreadable(f"the encoding {name[:40]!r} was not asked for")
        self._gzip = name != "deflate"
        self._begun = False
        self._stream = zlib.decompressobj(31 if self._gzip else 15)

    @property
    def finished(self) -> bool:
        return self._stream.eof

    def inflate(self, piece: bytes, room: int) -> bytes:
        """What `piece` adds, which may be `room` bytes.

        Raises:
            TooLarge: it adds more.
            Unreadable: it is not what it says it is.
        """
        out: list[bytes] = []
        while piece:
            if self._stream.eof:
                if not (self._gzip and piece.startswith(_GZIP_START)):
                    break  # padding after the end
                self._stream = zlib.decompressobj(31)
            # One byte more than there is room, since 0 would mean without limit.
            whole = self._decompress(piece, room + 1)
            room -= len(whole)
            if room < 0:
                raise TooLarge("more than may be read after inflation")
            out.append(whole)
            piece = self._stream.unconsumed_tail or self._stream.unused_data
        return b"".join(out)

    def _decompress(self, piece: bytes, most: int) -> bytes:
        begun, self._begun = self._begun, True
        try:
            return self._stream.decompress(piece, most)
        except zlib.error as error:
            if self._gzip or begun:
                raise Unreadable(str(error)) from error
        # RFC 9110, 8.4.1.2: some send deflate without the zlib header.
        self._stream = zlib.decompressobj(-15)
        try:
            return self._stream.decompress(piece, most)
        except zlib.error as error:
            raise Unreadable(str(error)) from error
