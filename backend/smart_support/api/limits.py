"""How often one address may call REST, kept by slowapi. The chat socket has limits of its own."""

import time

from fastapi import FastAPI
from limits import parse
from slowapi import Limiter
from slowapi.util import get_remote_address
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from smart_support.api.problems import problem
from smart_support.errors import RateLimited


def install_limits(app: FastAPI, limit: str) -> None:
    """Let one address make `limit` REST calls (as in `300/minute`), whichever they are."""
    app.add_middleware(_Limited, limit=limit)


class _Limited:
    """Counts before anything is routed.

    slowapi's own middleware asks the app which route it will be, and finds none of those that
    FastAPI keeps in included routers: it would leave them without a limit.
    """

    def __init__(self, app: ASGIApp, limit: str) -> None:
        self._app = app
        self._limit = parse(limit)
        self._window = Limiter(key_func=get_remote_address, strategy="moving-window").limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        address = get_remote_address(Request(scope))
        if self._window.hit(self._limit, address):
            await self._app(scope, receive, send)
            return
        wait = self._window.get_window_stats(self._limit, address).reset_time - time.time()
        await problem(RateLimited(max(0.001, wait)))(scope, receive, send)
