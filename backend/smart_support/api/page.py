"""The page: its built files, and index.html for every address that it routes itself."""

from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUILT = Path(__file__).parent.parent / "static"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def install_page(app: FastAPI, built: Path = BUILT) -> None:
    """Serve the page below every address that is not the API's."""
    if (built / "assets").is_dir():
        app.mount("/assets", _Forever(StaticFiles(directory=built / "assets")), "assets")

    root = built.resolve()

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        index = root / "index.html"
        if path.startswith("api/"):
            raise HTTPException(404)
        if not index.is_file():
            return PlainTextResponse(
                "The page is not built. Run `make page`, or use a released wheel.", 503
            )
        return FileResponse(
            _file_in(root, path) or index, headers={**_HEADERS, "Cache-Control": "no-cache"}
        )


def _file_in(root: Path, path: str) -> Path | None:
    """The file at `path` below `root`; None if there is none, or it could not even be one."""
    try:
        wanted = (root / path).resolve()
        return wanted if wanted.is_relative_to(root) and wanted.is_file() else None
    except (OSError, ValueError):  # too long, or with a NUL
        return None


class _Forever:
    """Built files carry a hash of their content in their names, so they never change."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_cached(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] += [
                    (b"cache-control", b"public, max-age=31536000, immutable"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, send_cached)
