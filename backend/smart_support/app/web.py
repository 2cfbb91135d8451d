"""The web application: every room of the API under one roof."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from smart_support import __version__
from smart_support.api import agents as agent_routes
from smart_support.api import (
    approvals,
    calls,
    chat_socket,
    connect,
    dashboard,
    health,
    installation,
    observability,
    replay,
    review,
    stops,
    threads,
)
from smart_support.api import audit as audit_routes
from smart_support.api import credentials as credential_routes
from smart_support.api import operations as operation_routes
from smart_support.api import sign_ins as sign_in_routes
from smart_support.api import specs as spec_routes
from smart_support.api import troubles as trouble_routes
from smart_support.api import turns as turn_routes
from smart_support.api.limits import count_calls
from smart_support.api.page import install_page
from smart_support.api.parts import Parts
from smart_support.api.problems import PROBLEMS, install_problems
from smart_support.settings import Settings
from smart_support.telemetry.logs import new_correlation_id


def create_app(
    settings: Settings, open_them: Callable[[], contextlib.AbstractAsyncContextManager[Parts]]
) -> FastAPI:
    """The web application; its parts are opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_them() as parts:
            app.state.parts = parts
            yield

    app = FastAPI(
        title="Smart Support",
        version=__version__,
        summary="Customer support whose tool calls can be trusted.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={status: PROBLEMS[status] for status in (401, 403, 422, 429)},
        generate_unique_id_function=lambda route: route.name,
    )
    install_problems(app)
    app.add_middleware(_Correlated)
    # Health is asked by machines, and the socket counts messages: they have no limit of calls.
    app.include_router(health.router)
    app.include_router(observability.metrics_router)
    limited = [Depends(count_calls(settings.smart_support_rest_limit))]
    for room in (
        threads,
        replay,
        approvals,
        spec_routes,
        operation_routes,
        review,
        credential_routes,
        connect,
        audit_routes,
        agent_routes,
        dashboard,
        trouble_routes,
        installation,
        observability,
        calls,
        turn_routes,
        stops,
        sign_in_routes,
    ):
        app.include_router(room.router, dependencies=limited)
    app.include_router(approvals.consents, dependencies=limited)
    app.include_router(chat_socket.router)
    install_page(app)
    return app


class _Correlated:
    """Gives each request an id that its log lines and its answer carry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = scope["correlation_id"] = new_correlation_id()
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            await self._app(scope, receive, send)
