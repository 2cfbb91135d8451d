"""HTTP/1.1 over connections to addresses that were checked; nothing private of any library."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache

import httpcore
import httpx

ACCEPT_ENCODING = "gzip, deflate"
"""What `body` can inflate with a limit; nothing else is asked for."""

Trace = Callable[[str, object], Awaitable[None]]

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
_OURS = tuple(_MEANINGS)


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """What certifi lists is trusted. One for all origins, since making one takes 50 ms."""
    return httpx.create_ssl_context(trust_env=False)


class PinnedTransport(httpx.AsyncBaseTransport):
    """The connections to one origin."""

    traces = True

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

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
        except _OURS as error:
            raise _MEANINGS[type(error)](str(error)) from error
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.aiter_stream():
                yield piece
        except _OURS as error:
            raise _MEANINGS[type(error)](str(error)) from error

    async def aclose(self) -> None:
        await self._answer.aclose()
