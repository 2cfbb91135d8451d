"""HTTP/1.1 over connections to addresses that were checked; nothing private of any library."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
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


class PinnedTransport(httpx.AsyncBaseTransport):
    """The connections to one origin.

    A request may carry the `trace` of httpcore, which says when its first byte is about to leave.
    """

    traces = True

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend,
        *,
        ssl_context: ssl.SSLContext | None = None,
        keep: int = 32,
        keepalive: float = 5.0,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or shared_ssl_context(),
            max_connections=None,  # the bulkhead limits them
            max_keepalive_connections=keep,
            keepalive_expiry=keepalive,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(asked)
        except _THEIRS as error:
            raise _MEANINGS[type(error)](str(error)) from error
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        try:
            async for piece in self._answer.aiter_stream():
                received += len(piece)
                yield piece
        except _THEIRS as error:
            raise _MEANINGS[type(error)](str(error)) from error
        stream = self._answer.extensions.get("network_stream")
        if isinstance(stream, WatchedStream):
            names = {name.lower() for name, _ in self._answer.headers}
            stream.answer_ended(None if b"transfer-encoding" in names else received)

    async def aclose(self) -> None:
        await self._answer.aclose()


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
        return PinnedTransport(
            backend, ssl_context=ssl_context, keep=0 if once else 32, keepalive=keepalive
        )

    return connect
