"""HTTP/1.1 over connections to addresses that were checked; nothing private of any library."""

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from functools import cache
from typing import Protocol

import httpcore
import httpx

from smart_support.resilience.address import AddressPolicy, Resolve, addresses_of, resolve

CONNECT_PATIENCE = 1.0
"""Seconds for one of several addresses, before the next one is tried (RFC 8305 is hastier)."""


class Connect(Protocol):
    """Makes the transport of an origin; `once`: one that uses each connection only once."""

    def __call__(self, origin: str, *, once: bool) -> httpx.AsyncBaseTransport: ...


ACCEPT_ENCODING = "gzip, deflate"
"""What `body` can inflate with a limit; nothing else is asked for."""

_MEANINGS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}
_THEIRS = tuple(_MEANINGS)


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """What certifi lists is trusted. One for all origins, since making one takes 50 ms."""
    return httpx.create_ssl_context(trust_env=False)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what the policy allows, and to the very address that was checked.

    The Host header and the name in TLS stay those of the request, since only the connection is
    made elsewhere.
    """

    def __init__(self, policy: AddressPolicy, resolver: Resolve = resolve) -> None:
        self._policy = policy
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            ForbiddenAddress, UnknownHost, httpx.ConnectError: as `addresses_of` says.
            httpcore.ConnectError: none answers.
        """
        *others, last = await addresses_of(host, port, self._policy, self._resolver)
        connect = self._network.connect_tcp
        for address in others:
            try:
                async with asyncio.timeout(CONNECT_PATIENCE):
                    return WatchedStream(
                        await connect(address, port, timeout, local_address, socket_options)
                    )
            except (httpcore.ConnectError, httpcore.ConnectTimeout, TimeoutError):
                continue
        return WatchedStream(await connect(last, port, timeout, local_address, socket_options))


class StackTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over connections of httpcore, kept in a stack: the one used last is used next.

    httpcore's own pool asks the socket of every connection about each request twice, which takes
    six times as long as the request itself once thirty are open. A stack asks one.

    A request may carry the `trace` of httpcore, which says when its first byte is about to leave.

    Args:
        backend: connects.
        keep: idle connections at most; 0 uses each of them once.
        keepalive: seconds after which an idle one is not used again.
    """

    traces = True

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        keep: int = 32,
        keepalive: float = 5.0,
    ) -> None:
        self._backend = backend or httpcore.AnyIOBackend()
        self._ssl_context = ssl_context or shared_ssl_context()
        self._keep = keep
        self._keepalive = keepalive
        self._idle: list[httpcore.AsyncHTTPConnection] = []
        self._used: set[httpcore.AsyncHTTPConnection] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol(f"{url.scheme or 'nothing'} is not HTTP")
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = await self._connection(asked.url.origin)
        self._used.add(connection)
        try:
            answer = await connection.handle_async_request(asked)
        except BaseException as error:
            await self._take_back(connection)
            if isinstance(error, _THEIRS):
                raise _MEANINGS[type(error)](str(error)) from error
            raise
        body = _Body(answer, lambda: self._take_back(connection))
        return httpx.Response(answer.status, headers=answer.headers, stream=body)

    async def _connection(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        """An idle connection to `origin` that is still open, or a new one."""
        while True:
            found = next((c for c in reversed(self._idle) if c.can_handle_request(origin)), None)
            if found is None:
                return httpcore.AsyncHTTPConnection(
                    origin,
                    ssl_context=self._ssl_context,
                    keepalive_expiry=self._keepalive,
                    network_backend=self._backend,
                )
            self._idle.remove(found)
            if not found.has_expired():
                return found
            await found.aclose()

    async def _take_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        """Keep what can be used again; close it otherwise, and the oldest that nobody needed."""
        self._used.discard(connection)
        useless = []
        # One that never connected says of itself that it is idle, and closed as well.
        usable = connection.is_idle() and not connection.is_closed()
        if usable and self._keep and not self._closed:
            self._idle.append(connection)
            if len(self._idle) > self._keep or self._idle[0].has_expired():
                useless.append(self._idle.pop(0))
        else:
            useless.append(connection)
        for each in useless:
            await each.aclose()

    async def aclose(self) -> None:
        self._closed = True
        for connection in (*self._idle, *self._used):
            await connection.aclose()
        self._idle.clear()
        self._used.clear()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, give_back: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer
        self._give_back = give_back
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._closed:  # the connection may be answering somebody else by now
            return
        received = 0
        # Not `aiter_stream`, which can be asked once only: openai asks again, to see that all came.
        assert isinstance(self._answer.stream, AsyncIterable)
        try:
            async for piece in self._answer.stream:
                received += len(piece)
                yield piece
        except _THEIRS as error:
            raise _MEANINGS[type(error)](str(error)) from error
        stream = self._answer.extensions.get("network_stream")
        if isinstance(stream, WatchedStream):
            names = {name.lower() for name, _ in self._answer.headers}
            stream.answer_ended(None if b"transfer-encoding" in names else received)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._answer.aclose()
        finally:  # one whose closing was cut off is not idle, and is closed
            await self._give_back()


class WatchedStream(httpcore.AsyncNetworkStream):
    """A connection that is not used again when more came than the answer to what was asked.

    What an upstream sends too much would be read as the answer to the next request, which may be
    another customer's. The pool drops an idle connection that has something to read; what was
    read together with the end of an answer it cannot see, so this counts it.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head: bytearray | None = bytearray()
        self._after_head = 0
        self._last = b""
        self._clean = False

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
    ) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._last = self._last[-8:] + data  # the boundary may lie between two reads
        if self._head is None:
            self._after_head += len(data)
        else:
            self._head += data
            self._find_end_of_head(self._head)
        return data

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
    ) -> None:
        if self._last:  # a new request
            self._head, self._after_head, self._last = bytearray(), 0, b""
        self._clean = False
        await self._stream.write(buffer, timeout)

    def answer_ended(self, length: int | None) -> None:
        """The answer was read whole; its body has `length` bytes, None where it was chunked."""
        if length is None:
            # How many bytes the chunks took is not known; a second answer shows by its beginning.
            self._clean = b"\r\n\r\nHTTP/1." not in self._last
        else:
            self._clean = self._head is None and self._after_head == length

    def get_extra_info(self, info: str) -> object:
        if info == "is_readable" and not self._clean:
            return True
        return self._stream.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
    ) -> httpcore.AsyncNetworkStream:
        return WatchedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _find_end_of_head(self, head: bytearray) -> None:
        while (end := head.find(b"\r\n\r\n")) >= 0:
            informational = head[9:10] == b"1"  # HTTP/1.1 103: its answer is still to come
            del head[: end + 4]
            if not informational:
                self._head, self._after_head = None, len(head)
                return


def pinned(
    policy: AddressPolicy,
    resolver: Resolve = resolve,
    *,
    ssl_context: ssl.SSLContext | None = None,
    keepalive: float = 5.0,
) -> Connect:
    """Transports that connect to what `policy` allows."""
    backend = CheckedBackend(policy, resolver)

    def connect(origin: str, *, once: bool) -> httpx.AsyncBaseTransport:  # noqa: ARG001
        return StackTransport(
            backend, ssl_context=ssl_context, keep=0 if once else 32, keepalive=keepalive
        )

    return connect
