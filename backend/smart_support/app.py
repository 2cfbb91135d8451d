"""The application put together: the only place where a promise meets its PostgreSQL."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import httpx
import sqlalchemy as sa
import structlog
from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio.engine import AsyncEngine
from starlette.types import ASGIApp, Receive, Scope, Send

from smart_support import __version__
from smart_support.agent.agents import LiveAgents
from smart_support.agent.ask import ask_model
from smart_support.agent.caps import caps_of
from smart_support.agent.checkpoints import (
    TABLES_VERSION,
    forget,
    prepare_checkpoints,
    stored_checkpoints,
)
from smart_support.agent.graph import build_graph
from smart_support.agent.graph_errors import error_of_agent
from smart_support.agent.model import StreamingChatOpenAI, open_model
from smart_support.agent.model_chain import ModelChain, stand_bys
from smart_support.agent.model_check import check_any, check_model
from smart_support.agent.model_errors import (
    ModelAuth,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
)
from smart_support.analytics.outside_postgres import OutsideErrors
from smart_support.analytics.postgres import PostgresAnalyticsRecorder
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.api import (
    agents as agent_routes,
)
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
from smart_support.api import (
    audit as audit_routes,
)
from smart_support.api import (
    credentials as credential_routes,
)
from smart_support.api import (
    operations as operation_routes,
)
from smart_support.api import (
    sign_ins as sign_in_routes,
)
from smart_support.api import (
    specs as spec_routes,
)
from smart_support.api import (
    troubles as trouble_routes,
)
from smart_support.api import (
    turns as turn_routes,
)
from smart_support.api.degraded import Degradation
from smart_support.api.limits import count_calls
from smart_support.api.page import install_page
from smart_support.api.parts import Parts
from smart_support.api.problems import PROBLEMS, install_problems
from smart_support.api.sockets import Sockets
from smart_support.chat.answering import MAX_RECOVERIES, TurnInterrupted, TurnLimits, TurnParts
from smart_support.chat.calls import CallRecovery
from smart_support.chat.derive import Derivation
from smart_support.chat.desk import Desk
from smart_support.chat.follow import Followers
from smart_support.chat.limits import MessageLimiter
from smart_support.chat.observe import Observer, Prices, note_budgets, upstream_hooks
from smart_support.chat.past import PastEvents
from smart_support.chat.peers import Peers
from smart_support.chat.places import Places
from smart_support.chat.recovery import Recovery
from smart_support.chat.relay import Relay
from smart_support.chat.remember import Remembering
from smart_support.chat.turn import TurnRunner
from smart_support.chat.webhook import HandoffWebhook
from smart_support.conversations.interrupted_postgres import PostgresInterruptions
from smart_support.conversations.memory_postgres import PostgresMemories
from smart_support.conversations.outbox_postgres import PostgresOutbox
from smart_support.conversations.postgres import (
    PostgresConversations,
    PostgresConversationTracker,
    PostgresHandoffs,
    with_lines,
)
from smart_support.conversations.records import MessageLimit
from smart_support.database import Sessions
from smart_support.database.embedded import embedded_postgres
from smart_support.database.engine import (
    POOL_SIZE,
    check_writable,
    open_engine,
    pool_in_use,
    psycopg_dsn,
    sessions,
)
from smart_support.database.errors import map_database_error
from smart_support.database.life import living
from smart_support.database.schema import current_revision, migrate
from smart_support.errors import DatabaseUnavailable, InvalidInput, SetupError
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId
from smart_support.identity.sign_ins import SignIns
from smart_support.identity.tokens import Tokens, signing_key
from smart_support.ledger.departures import Departures
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.ledger.unknown_postgres import PostgresUnknownCalls
from smart_support.operations.advice import SWITCHED_OFF, Ask
from smart_support.operations.postgres import PostgresOperations
from smart_support.resilience.transport import CheckedBackend, StackTransport
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.resilience.upstream_errors import error_of_upstream
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.security.endings_postgres import PostgresEndings
from smart_support.security.sealing import Keys, kept_keys, parse_keys
from smart_support.settings import Settings
from smart_support.telemetry import metrics
from smart_support.telemetry.debug import DEBUG
from smart_support.telemetry.handler import ErrorContext, ErrorHandler, Remedy
from smart_support.telemetry.logs import new_correlation_id
from smart_support.telemetry.monitor import CHECK_SECONDS
from smart_support.telemetry.tracing import configure_tracing
from smart_support.telemetry.watch import (
    DATABASE,
    FIRST_MODEL,
    MODEL,
    hide_secrets_of,
    open_watch,
    process_name,
)
from smart_support.tools.authorize import Door, SpecAuthorizer
from smart_support.tools.call import Limits, ToolCaller
from smart_support.tools.credential_check import CredentialCheck
from smart_support.tools.keyring import Keyring
from smart_support.tools.linked import LinkedReads
from smart_support.tools.oauth import OAuth
from smart_support.tools.resolve import CallResolver

if TYPE_CHECKING:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

log = structlog.get_logger()

SWEEP_SECONDS = 5.0
CALLS_SECONDS = 5.0
RESTART_GRACE_SECONDS = 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seams:
    """What tests put in the place of the outside world."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sweep_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    offline_token_delay: float = 0.012
    model_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    hello_seconds: float = chat_socket.HELLO_SECONDS
    act_seconds: float = chat_socket.ACT_SECONDS
    restart_grace: float = RESTART_GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class OpenKeyring:
    """What commands about credentials work with."""

    operations: PostgresOperations
    credentials: PostgresCredentials
    keyring: Keyring
    audit: PostgresAudit


@asynccontextmanager
async def open_database(settings: Settings, progress: Progress) -> AsyncIterator[str]:
    """The URL of a migrated database: the configured one, or an embedded one that is started.

    Raises:
        SetupError: it cannot be had; the text says what to do.
    """
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
        else:
            progress("Starting the embedded PostgreSQL")
            url = await stack.enter_async_context(
                embedded_postgres(settings.smart_support_data_dir)
            )
        progress("Bringing the database up to date")
        await migrate(url)
        yield url


@asynccontextmanager
async def open_operations(url: str) -> AsyncIterator[PostgresOperations]:
    """The catalogue alone, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        yield PostgresOperations(sessions(engine))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_keyring(settings: Settings, url: str) -> AsyncIterator[OpenKeyring]:
    """The credentials alone, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        connected = sessions(engine)
        operations = PostgresOperations(connected)
        credentials = PostgresCredentials(connected, keys_of(settings))
        async with _client(ssl.create_default_context()) as client:
            keyring = Keyring(operations, credentials, OAuth(client, credentials))
            yield OpenKeyring(operations, credentials, keyring, PostgresAudit(connected))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_credential_check(
    settings: Settings, url: str
) -> AsyncIterator[tuple[PostgresOperations, CredentialCheck]]:
    """What tries credentials out, on the migrated database at `url`."""
    upstream_settings = UpstreamSettings.from_settings(settings)
    trust = ssl.create_default_context()
    transport = StackTransport(CheckedBackend(upstream_settings.addresses), ssl_context=trust)
    engine = open_engine(url)
    try:
        connected = sessions(engine)
        operations = PostgresOperations(connected)
        credentials = PostgresCredentials(connected, keys_of(settings))
        async with _client(trust, transport) as client, Upstreams(upstream_settings) as upstreams:
            oauth = OAuth(client, credentials)
            yield (
                operations,
                _credential_check(
                    settings,
                    Keyring(operations, credentials, oauth),
                    operations,
                    credentials,
                    oauth,
                    PostgresStops(connected),
                    PostgresAudit(connected),
                    Door(upstreams, SpecAuthorizer(operations, credentials, oauth)),
                ),
            )
    finally:
        await engine.dispose()


def _credential_check(
    settings: Settings,
    keyring: Keyring,
    operations: PostgresOperations,
    credentials: PostgresCredentials,
    oauth: OAuth,
    stops: PostgresStops,
    audit: PostgresAudit,
    door: Door,
) -> CredentialCheck:
    return CredentialCheck(
        keyring,
        operations,
        credentials,
        oauth,
        stops,
        audit,
        door,
        total=settings.smart_support_tool_timeout,
        attempt=settings.smart_support_tool_attempt_timeout,
        max_bytes=settings.smart_support_tool_max_bytes,
    )


@asynccontextmanager
async def open_switches(url: str) -> AsyncIterator[tuple[PostgresOperations, PostgresStops]]:
    """The catalogue and the kill switch, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        yield PostgresOperations(sessions(engine)), PostgresStops(sessions(engine))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_sign_ins(settings: Settings, url: str) -> AsyncIterator[SignIns]:
    """What ends sign-ins, on the migrated database at `url`."""
    engine = open_engine(url)
    try:
        connected = sessions(engine)
        yield SignIns(tokens_of(settings), PostgresAudit(connected), PostgresEndings(connected))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_adviser(settings: Settings) -> AsyncIterator[Ask]:
    """The model alone, to be asked about imported operations.

    Raises:
        InvalidInput: that is switched off, or there is no model.
    """
    if not _advises(settings):
        raise InvalidInput(SWITCHED_OFF)
    model = open_model(settings)
    try:
        yield _asker(settings, model)
    finally:
        await model.close()


def _advises(settings: Settings) -> bool:
    offline = settings.openai_api_key is None and settings.openai_base_url is None
    return settings.smart_support_model_advises and not offline


def _asker(settings: Settings, model: StreamingChatOpenAI) -> Ask:
    return partial(ask_model, model, within=settings.smart_support_model_timeout)


def tokens_of(settings: Settings) -> Tokens:
    """What signs and reads tokens in this installation.

    Raises:
        SetupError: the signing key cannot be read or kept.
    """
    if settings.smart_support_secret_key is not None:
        return Tokens(settings.smart_support_secret_key.get_secret_value())
    return Tokens(signing_key(settings.smart_support_data_dir / "signing.key"))


def keys_of(settings: Settings) -> Keys:
    """What seals and opens stored credentials in this installation.

    Raises:
        SetupError: the keys are of another form, or cannot be read or kept.
    """
    if settings.smart_support_sealing_keys is not None:
        return parse_keys(settings.smart_support_sealing_keys.get_secret_value())
    return kept_keys(settings.smart_support_data_dir / "sealing.keys")


def webhook_of(settings: Settings) -> tuple[str, str] | None:
    """URL and secret of the webhook; None if nobody is to be told.

    Raises:
        SetupError: there is a URL without a secret: nobody could trust what comes.
    """
    url, secret = (
        settings.smart_support_handoff_webhook_url,
        settings.smart_support_handoff_webhook_secret,
    )
    if url is None:
        return None
    if secret is None:
        raise SetupError(
            "SMART_SUPPORT_HANDOFF_WEBHOOK_URL is set without "
            "SMART_SUPPORT_HANDOFF_WEBHOOK_SECRET: set both, or neither."
        )
    return url, secret.get_secret_value()


@asynccontextmanager
async def open_parts(
    settings: Settings, url: str, seams: Seams | None = None
) -> AsyncIterator[Parts]:
    """Everything behind the edge, running on the migrated database at `url`."""
    seams = seams or Seams()
    async with AsyncExitStack() as stack:
        stack.callback(DEBUG.switch, whole=False)  # it was switched on for this life of ours
        hide_secrets_of(settings)
        stack.enter_context(
            configure_tracing(settings.smart_support_trace_endpoint, version=__version__)
        )
        errors = await stack.enter_async_context(error_handler())
        engine = open_engine(url)
        stack.push_async_callback(engine.dispose)
        connected = sessions(engine)
        saver = await stack.enter_async_context(
            stored_checkpoints(psycopg_dsn(url), partial(_prepare_checkpoints, engine))
        )
        if not await _checkpoints_stand(connected):
            await saver.open()  # makes the tables
        direct = settings.smart_support_database_direct_url
        life = await stack.enter_async_context(
            living(direct.get_secret_value() if direct is not None else url)
        )
        offline = settings.openai_api_key is None and settings.openai_base_url is None
        asked, endpoint = settings, None
        if offline:
            # Loaded here: whoever has a model never needs it.
            from smart_support.agent import offline as built_in

            asked = settings.model_copy(update={"openai_model": built_in.MODEL})
            endpoint = await stack.enter_async_context(
                built_in.offline_endpoint(token_delay=seams.offline_token_delay)
            )
        model = open_model(asked, base_url_override=endpoint)
        chain = ModelChain([model, *stand_bys(settings, offline=offline)], sleep=seams.model_sleep)
        stack.push_async_callback(chain.close)
        trust = ssl.create_default_context()
        upstream_settings = UpstreamSettings.from_settings(settings)
        breaker_moved = asyncio.Event()
        upstreams = await stack.enter_async_context(
            Upstreams(upstream_settings, hooks=upstream_hooks(breaker_moved.set))
        )
        peers = Peers(process_name(), upstreams.states, breaker_moved)
        # Documents name addresses, their own and those of token servers; none may lead to what
        # only we can reach.
        checked = CheckedBackend(upstream_settings.addresses)
        documents = await stack.enter_async_context(
            _client(trust, StackTransport(checked, ssl_context=trust))
        )
        told = await stack.enter_async_context(_client(trust))

        conversations = PostgresConversations(
            connected,
            owner=life.owner,
            limit=MessageLimit(
                settings.smart_support_message_limit, settings.smart_support_message_window
            ),
        )
        event_log = PostgresEventLog(connected)
        webhook = webhook_of(settings)
        handoffs = PostgresHandoffs(connected, announce=webhook is not None)
        ledger = PostgresLedger(connected, owner=life.owner)
        departures = stack.enter_context(
            Departures(settings.smart_support_data_dir / "departures", life.owner).kept()
        )
        operations = PostgresOperations(connected)
        audit = PostgresAudit(connected)
        credentials = PostgresCredentials(connected, keys_of(settings))
        token_servers = await stack.enter_async_context(
            _client(trust, StackTransport(checked, ssl_context=trust))
        )
        oauth = OAuth(token_servers, credentials, clock=seams.clock)
        stack.push_async_callback(oauth.close)
        tracker = PostgresConversationTracker(connected)
        recorder = PostgresAnalyticsRecorder(connected, with_lines)
        troubles = PostgresTroubles(connected)
        outside = OutsideErrors(connected, clock=seams.clock)
        errors.count_with(outside.count)
        stack.push_async_callback(outside.store)
        await stack.enter_async_context(_task(outside.run(), "errors outside", errors))
        derivation = Derivation(
            event_log, [tracker, recorder, troubles], errors, settle=recorder.settle
        )
        followers = Followers()
        switched_off = PostgresStops(connected)
        call_limits = Limits(
            total=settings.smart_support_tool_timeout,
            attempt=settings.smart_support_tool_attempt_timeout,
            max_bytes=settings.smart_support_tool_max_bytes,
        )
        door = Door(upstreams, SpecAuthorizer(operations, credentials, oauth))
        keyring = Keyring(operations, credentials, oauth)
        linked = LinkedReads(
            upstreams,
            operations,
            attempt=call_limits.attempt,
            max_bytes=call_limits.max_bytes,
            door=door,
        )
        past = PastEvents(event_log)
        remember = Remembering(
            past=past,
            ledger=ledger,
            memories=PostgresMemories(connected),
            tokens=settings.smart_support_history_tokens,
            model=None if offline else chain,
        )
        stack.push_async_callback(remember.close)
        apis = installation.WatchedApis(operations, credentials, documents)
        watch = await stack.enter_async_context(
            open_watch(
                settings,
                told,
                looks={
                    DATABASE: partial(check_writable, engine),
                    MODEL: lambda: check_any([model, *chain.stand_bys], CHECK_SECONDS - 1.0),
                    **(
                        {FIRST_MODEL: lambda: check_model(model, CHECK_SECONDS)}
                        if chain.stand_bys
                        else {}
                    ),
                },
                more=apis.looks,
                gauges=[
                    (metrics.POOL_IN_USE, partial(pool_in_use, engine)),
                    (metrics.POOL_SIZE, lambda: POOL_SIZE),
                    (metrics.FOLLOWED, lambda: followers.threads),
                    (metrics.TURNS_RUNNING, lambda: runner.running),
                    (metrics.TURNS_WAITING, lambda: runner.waiting),
                    (metrics.TURNS_AT_ONCE, lambda: runner.at_once),
                ],
                counts=[(metrics.QUEUE_DEPTH, conversations.queued)],
                notes=[lambda: note_budgets(upstreams.states())],
                clock=seams.clock,
            )
        )
        for failure in (ModelUnavailable, ModelAuth, ModelRateLimited, ModelRejected):
            errors.recover(failure, Remedy.DEGRADE, watch.degrade)
        errors.recover(DatabaseUnavailable, Remedy.DEGRADE, watch.degrade)
        observer = Observer(
            slow_turn=settings.smart_support_alert_slow_turn,
            prices=Prices(
                input=settings.smart_support_model_input_price,
                output=settings.smart_support_model_output_price,
            ),
            model_answered=watch.model_answered,
        )
        sockets = Sockets(
            per_person=settings.smart_support_sockets_per_person,
            per_address=settings.smart_support_sockets_per_address,
        )
        degradation = Degradation(sockets)
        watch.monitor.when_changed(degradation.notice)
        await stack.enter_async_context(_task(degradation.run(), "degradation", errors))
        # Each needs the other: a turn is stopped through the relay, and by it.
        relay: Relay | None = None

        def tell(thread_id: ThreadId, events: Sequence[Event]) -> None:
            followers.publish(thread_id, events)
            derivation.notice(thread_id)

        call_recovery = CallRecovery(
            ledger,
            PostgresUnknownCalls(connected),
            event_log,
            CallResolver(
                upstreams,
                operations,
                switched_off,
                linked,
                call_limits,
                door=door,
                clock=seams.clock,
            ),
            tell,
            clock=seams.clock,
            departures=departures,
        )
        agents = LiveAgents(settings.smart_support_agents_file, operations)
        places = Places(
            settings.smart_support_turns_at_once,
            settings.smart_support_turns_waiting,
            wait=settings.smart_support_turn_wait,
        )
        await stack.enter_async_context(_task(places.watch(), "places", errors))
        runner = TurnRunner(
            TurnParts(
                conversations=conversations,
                handoffs=handoffs,
                log=event_log,
                past=past,
                ledger=ledger,
                calls=call_recovery,
                operations=operations,
                graph=build_graph(saver),
                model=chain,
                caller=ToolCaller(
                    upstreams,
                    ledger,
                    switched_off,
                    linked,
                    call_limits,
                    operations=operations,
                    door=door,
                    leaves=departures.leaves,
                    away=lambda base_url: apis.is_away(base_url, watch.monitor.standing),
                    clock=seams.clock,
                ),
                followers=followers,
                limiter=MessageLimiter(
                    settings.smart_support_message_limit, settings.smart_support_message_window
                ),
                limits=TurnLimits(
                    timeout=settings.smart_support_turn_timeout,
                    max_model_calls=settings.smart_support_turn_max_model_calls,
                    approval_ttl=settings.smart_support_approval_ttl,
                    caps=caps_of(settings),
                    interrupt=settings.smart_support_while_answering == "interrupt",
                    tools_per_turn=settings.smart_support_tools_per_turn,
                ),
                places=places,
                remember=remember,
                alive=lambda: life.held,
                cancel_elsewhere=lambda thread_id: relay.cancel(thread_id) if relay else None,
                noticed=derivation.notice,
                agents=agents.current,
                forget=partial(forget, saver),
                clock=seams.clock,
                errors=errors,
                observed=observer.take,
            )
        )
        recovery = Recovery(
            runner,
            conversations,
            ledger,
            tracker,
            derivation,
            abandon_after=settings.smart_support_abandon_after,
            clock=seams.clock,
            errors=errors,
            restart_grace=seams.restart_grace,
        )
        if webhook is not None:
            hooks = await stack.enter_async_context(_client(trust))
            sender = HandoffWebhook(PostgresOutbox(connected), hooks, *webhook)
            await stack.enter_async_context(_task(sender.run(), "webhook", errors))
        tokens = tokens_of(settings)
        sign_ins = SignIns(tokens, audit, PostgresEndings(connected), clock=seams.clock)
        life.when_told(sign_ins.hear)
        life.when_regained(sign_ins.look)
        await sign_ins.catch_up()
        await stack.enter_async_context(_task(derivation.run(), "derivation", errors))
        stack.push_async_callback(derivation.sweep)
        if settings.database_url is not None or settings.smart_support_workers > 1:
            # Nobody else uses the embedded database of a single process.
            relay = Relay(
                life,
                followers,
                name=str(life.owner),
                stop=partial(runner.stop, here_only=True),
                last_seqs=event_log.last_seqs,
            )
            life.when_told(relay.take)
            peers.join(relay, watch.hear_model)
            watch.monitor.when_changed(
                lambda found: (
                    peers.tell_model(ok=found.ok, why=found.reason) if found.name == MODEL else None
                )
            )
            await stack.enter_async_context(_task(peers.run(), "peers", errors))
            await stack.enter_async_context(_task(relay.run(), "relay", errors))
            await stack.enter_async_context(_task(relay.look(), "relay look", errors))
        stack.push_async_callback(runner.close, settings.smart_support_stop_grace)
        await stack.enter_async_context(_task(sockets.watch(sign_ins.check), "sockets", errors))
        await stack.enter_async_context(
            _task(
                sign_ins.run(partial(sockets.sign_out, sign_ins.check), errors), "sign-ins", errors
            )
        )
        await recovery.sweep()
        with errors.guarding(ErrorContext(place="job", operation="titles of the release before")):
            await tracker.complete_titles()
        await stack.enter_async_context(
            _task(recovery.run(SWEEP_SECONDS, seams.sweep_sleep), "recovery", errors)
        )
        await stack.enter_async_context(_task(call_recovery.run(CALLS_SECONDS), "calls", errors))
        yield Parts(
            settings=settings,
            tokens=tokens,
            conversations=conversations,
            interruptions=PostgresInterruptions(
                connected, code=TurnInterrupted.code, most=MAX_RECOVERIES
            ),
            tracker=tracker,
            recorder=recorder,
            troubles=troubles,
            outside=outside,
            derivation=derivation,
            log=event_log,
            ledger=ledger,
            calls=call_recovery,
            stops=switched_off,
            upstreams=upstreams,
            peers=peers,
            operations=operations,
            audit=audit,
            sign_ins=sign_ins,
            credentials=credentials,
            oauth=oauth,
            keyring=keyring,
            credential_check=_credential_check(
                settings, keyring, operations, credentials, oauth, switched_off, audit, door
            ),
            agents=agents,
            runner=runner,
            desk=Desk(handoffs, runner.publish),
            followers=followers,
            sockets=sockets,
            documents=documents,
            check_writable=partial(check_writable, engine),
            database_heard=lambda: connected.heard,
            check_model=partial(check_model, model),
            ask_model=_asker(settings, model) if _advises(settings) else None,
            model_replaced=lambda: chain.replaced,
            revision=await current_revision(url),
            offline_model=offline,
            model_name=model.model_name,
            hello_seconds=seams.hello_seconds,
            act_seconds=seams.act_seconds,
            clock=seams.clock,
            errors=errors,
            watch=watch,
        )


@asynccontextmanager
async def error_handler() -> AsyncIterator[ErrorHandler]:
    """The handler of every error, which knows the exceptions of the libraries that we use."""
    errors = ErrorHandler()
    for mapper in (map_database_error, error_of_upstream, error_of_agent):
        errors.map(mapper)
    async with errors.running():
        yield errors


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


def _client(
    trust: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        verify=trust,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(10.0),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        headers={"User-Agent": f"smart-support/{__version__}"},
    )


async def _checkpoints_stand(connected: Sessions) -> bool:
    """Whether LangGraph's tables are there, as its saver would make them."""
    async with connected() as session:
        there = await session.scalar(sa.select(sa.func.to_regclass("checkpoint_migrations")))
        if there is None:
            return False
        version = await session.scalar(sa.text("SELECT max(v) FROM checkpoint_migrations"))
    return version is not None and version >= TABLES_VERSION


async def _prepare_checkpoints(engine: AsyncEngine, saver: "AsyncPostgresSaver") -> None:
    """Have LangGraph's tables in place; of several processes at once, one after the other."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        # Asked for again and again: the index that LangGraph builds concurrently waits for every
        # statement that runs, and so for one that would wait here for the index.
        taken = sa.text("SELECT pg_try_advisory_lock(:key)")
        async with asyncio.timeout(_SETUP_SECONDS):
            while not await connection.scalar(taken, {"key": _SETUP_LOCK}):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        try:
            await prepare_checkpoints(saver)
        finally:
            await connection.execute(
                sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _SETUP_LOCK}
            )


_SETUP_SECONDS = 120.0
_SETUP_LOCK = 0x534D5351  # any number that nothing else of ours uses


@asynccontextmanager
async def _task(work: Awaitable[None], name: str, errors: ErrorHandler) -> AsyncIterator[None]:
    """Run `work` in the background for as long as the block lasts."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(partial(_ended, name, errors))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _ended(name: str, errors: ErrorHandler, task: "asyncio.Future[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        errors.handle(error, ErrorContext(place="job", operation=name))
