"""`smart-support serve`: everything started in order, and stopped in the opposite one."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
import uvicorn

from smart_support.api.chat_socket import MAX_FRAME_BYTES
from smart_support.api.parts import Parts
from smart_support.app.database import open_database
from smart_support.app.keys import tokens_of
from smart_support.app.parts import Seams, open_parts
from smart_support.app.web import create_app
from smart_support.cli.company import (
    CUSTOMER,
    DEMO_AGENTS,
    approve_demo,
    demo_company,
    with_demo_allowed,
)
from smart_support.cli.spread import Acceptor, Share, Shares
from smart_support.cli.wire import Requests, Wire
from smart_support.cli.workers import Say, let_others_finish, run_workers
from smart_support.errors import SetupError, SupportError
from smart_support.identity.people import Person, Role
from smart_support.settings import Settings

log = structlog.get_logger()

LEAD = Person(id="lead", role=Role.LEAD, name="Support lead")
OPERATOR = Person(id="operator", role=Role.OPERATOR, name="Operator")

SOCKETS_CLOSE_SECONDS = 5
"""How long sockets and requests get to end once they were told that we stop."""

# A frame above the protocol's limit gets an error frame; one above this closes the socket.
_LARGEST_READ = 4 * MAX_FRAME_BYTES


class _Server(uvicorn.Server):
    """A uvicorn that leaves the signals to us, so that all the rest can be stopped after it.

    One of several processes takes in its share of the connections, and no more.
    """

    def __init__(self, config: uvicorn.Config, share: Share | None) -> None:
        super().__init__(config)
        self._share = share
        self._acceptors: list[Acceptor] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._share is None:
            await super().startup(sockets)
            return
        await super().startup([])
        for listener in sockets or []:
            acceptor = Acceptor(
                listener, self._protocol, self._share, lambda: len(self.server_state.connections)
            )
            self._acceptors.append(acceptor)
        self.servers = self._acceptors  # type: ignore[assignment]  # closed by uvicorn as its own

    async def on_tick(self, counter: int) -> bool:
        for acceptor in self._acceptors:
            acceptor.tell()
        return await super().on_tick(counter)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return made


async def serve(settings: Settings, *, demo: bool, say: Say) -> None:
    """Serve until SIGINT or SIGTERM; `say` is told what happens, for people.

    Raises:
        SetupError: something does not start; the text says what to do.
    """
    stop = stopped_by_signals()
    if settings.smart_support_workers > 1:
        let_others_finish()  # before PostgreSQL starts, which inherits it
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings))
        url = await stack.enter_async_context(open_database(settings, say))
        document = None
        if demo:
            say("Starting the demo company")
            document = await stack.enter_async_context(
                demo_company(settings.smart_support_data_dir)
            )
            settings = with_demo_allowed(settings, document)
            if settings.smart_support_agents_file is None:
                settings = settings.model_copy(update={"smart_support_agents_file": DEMO_AGENTS})
        say("Starting the agents")
        if settings.smart_support_workers > 1:
            tokens_of(settings)  # makes the signing key, if there is none, before all want it
            shares = stack.enter_context(
                Shares.made(settings.smart_support_workers, settings.smart_support_data_dir)
            )
            await run_workers(settings, url, listener, shares, document, stop=stop, say=say)
        else:
            await work(settings, url, listener, stop=stop, say=say, first=True, document=document)
    say("Stopped")


async def work(
    settings: Settings,
    url: str,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    say: Say,
    first: bool,
    document: str | None,
    ready: Callable[[], None] = lambda: None,
    seams: Seams | None = None,
    share: Share | None = None,
) -> None:
    """Serve on `listener` with the database at `url` until `stop`.

    Of several processes each has a `share` of the connections, and the `first` one approves the
    demo company's API, whose document is at `document`, and welcomes people. `ready` is called
    once it serves.
    """
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings, url, seams))
        if document is not None and first:
            await approve_demo(parts, document)
        await parts.agents.reload()
        await stack.enter_async_context(_reloading(parts))
        address = f"http://{_host(listener)}:{listener.getsockname()[1]}"
        app = create_app(settings, lambda: contextlib.nullcontext(parts))
        heartbeat = settings.smart_support_heartbeat
        server = await stack.enter_async_context(
            serving(app, listener, heartbeat=heartbeat, share=share)
        )
        for line in _welcome(parts, address, document) if first else ():
            say(line)
        ready()
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, server}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if first:
            say("Stopping")


def stopped_by_signals() -> asyncio.Event:
    """Set by SIGINT and SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _reloading(parts: Parts) -> AsyncIterator[None]:
    """Load the agents file anew at each SIGHUP."""
    asked = asyncio.Event()

    async def reload() -> None:
        while True:
            await asked.wait()
            asked.clear()
            try:
                agents = await parts.agents.reload()
                log.info("agents_reloaded", version=agents.version)
            except SupportError as error:
                log.error("agents_not_reloaded", code=error.code, error=str(error))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    task = asyncio.create_task(reload(), name="agents reload")
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def bind(settings: Settings) -> Iterator[socket.socket]:
    """The socket to listen on, taken before anything else starts.

    Raises:
        SetupError: the port is taken or may not be used.
    """
    host, port = settings.smart_support_host, settings.smart_support_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError as error:
            raise SetupError(
                f"Cannot listen on {host} port {port}: {error.strerror}. Stop what uses it, or set "
                "SMART_SUPPORT_PORT to another port (0 picks a free one)."
            ) from error
        yield listener


@asynccontextmanager
async def serving(
    app: Callable[..., Any],
    listener: socket.socket,
    *,
    heartbeat: float = 20.0,
    share: Share | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    """Serve the application on a socket; yields the task that ends when it does.

    Chat sockets are pinged every `heartbeat` seconds; one that does not answer for as long is let
    go.

    Raises:
        SetupError: the web server does not start.
    """
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            http=Requests,
            ws=Wire,
            ws_max_size=_LARGEST_READ,
            ws_per_message_deflate=False,
            ws_ping_interval=heartbeat,
            ws_ping_timeout=heartbeat,
            timeout_graceful_shutdown=SOCKETS_CLOSE_SECONDS,
        ),
        share,
    )
    _settle_garbage()
    task = asyncio.create_task(server.serve(sockets=[listener]), name="server")
    try:
        # uvicorn offers nothing to wait on.
        while not server.started and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if task.done():
            raise SetupError("The web server did not start; the log says why.")
        yield task
    finally:
        server.should_exit = True
        await task


def _settle_garbage() -> None:
    """Let the collector pass over what lives as long as the process, and look less often.

    A turn makes thousands of objects, nearly none of them in circles, and by default the whole
    program is looked through again and again for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _host(listener: socket.socket) -> str:
    host = str(listener.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def _welcome(parts: Parts, address: str, document: str | None) -> Iterator[str]:
    yield ""
    yield f"Smart Support runs at {address}"
    if parts.offline_model:
        yield "No OPENAI_API_KEY is set: the built-in offline model answers, and says what it is."
    else:
        yield f"Model: {parts.model_name}"
    if document is not None:
        yield f"The demo company's API is described at {document}"
    yield ""
    yield "Sign in as"
    people = [LEAD, OPERATOR] if document is None else [CUSTOMER, LEAD, OPERATOR]
    for person in people:
        yield f"  {person.role.value:<9} {sign_in_link(parts, address, person)}"
    yield ""
    yield "Ctrl-C stops everything."


def sign_in_link(parts: Parts, address: str, person: Person) -> str:
    """A link that signs `person` in; the token is behind the #, which browsers do not send."""
    ttl = parts.settings.smart_support_token_ttl
    token = parts.tokens.issue(person, now=parts.clock(), ttl=ttl)
    return f"{address}/sign-in#token={token}"
