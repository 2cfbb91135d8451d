"""How often one address may call REST, kept by slowapi. The chat socket has limits of its own.

slowapi's middlewares are not used: the ASGI one begins an answer anew with each piece of a body
that comes in several, which breaks files; the other one wraps every answer.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from slowapi import Limiter
from slowapi.util import get_remote_address


def install_limits(app: FastAPI, limit: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets an address call the routes which have it `limit` times.

    `limit` is written as in `300/minute`; the routes share it.
    """
    limiter = Limiter(key_func=get_remote_address)
    app.state.limiter = limiter

    @limiter.shared_limit(limit, scope="rest")  # else each address of a route had its own
    async def count_call(request: Request) -> None:  # noqa: ARG001 - slowapi looks at it
        return None

    counted: Callable[[Request], Awaitable[None]] = count_call
    return counted
