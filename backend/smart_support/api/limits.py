"""How often one address may call REST, kept by slowapi. The chat socket has limits of its own."""

from fastapi import FastAPI
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address


def install_limits(app: FastAPI, limit: str) -> Limiter:
    """Limit every route of the app to `limit` (as in `300/minute`) per address."""
    limiter = Limiter(
        key_func=get_remote_address,
        default_limits=[limit],
        application_limits=[],
        headers_enabled=False,
    )
    app.state.limiter = limiter
    app.add_middleware(SlowAPIASGIMiddleware)
    return limiter
