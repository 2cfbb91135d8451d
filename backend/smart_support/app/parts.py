"""Everything behind the edge, started in order: where promises meet their PostgreSQL."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from smart_support import __version__
from smart_support.agent.agents import LiveAgents
from smart_support.agent.caps import caps_of
from smart_support.agent.checkpoints import forget, stored_checkpoints
from smart_support.agent.graph import build_graph
from smart_support.agent.graph_errors import error_of_agent
from smart_support.agent.model import open_model
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
from smart_support.api import chat_socket, installation
from smart_support.api.degraded import Degradation
from smart_support.api.parts import Parts
from smart_support.api.sockets import Sockets
from smart_support.app.checkpoints import checkpoints_stand, make_tables
from smart_support.app.keys import keys_of, tokens_of, webhook_of
from smart_support.app.outside import advises, asker, credential_check, open_client
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
from smart_support.database.schema import current_revision
from smart_support.errors import DatabaseUnavailable
from smart_support.events.postgres import PostgresEventLog
from smart_support.events.records import Event, ThreadId
from smart_support.identity.sign_ins import SignIns
from smart_support.ledger.departures import Departures
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.ledger.unknown_postgres import PostgresUnknownCalls
from smart_support.operations.postgres import PostgresOperations
from smart_support.resilience.transport import CheckedBackend, StackTransport
from smart_support.resilience.upstream import Upstreams, UpstreamSettings
from smart_support.resilience.upstream_errors import error_of_upstream
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.security.endings_postgres import PostgresEndings
from smart_support.settings import Settings
from smart_support.telemetry import metrics
from smart_support.telemetry.debug import DEBUG
from smart_support.telemetry.handler import ErrorContext, ErrorHandler, Remedy
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
from smart_support.tools.keyring import Keyring
from smart_support.tools.linked import LinkedReads
from smart_support.tools.oauth import OAuth
from smart_support.tools.resolve import CallResolver

SWEEP_SECONDS = 5.0
CALLS_SECONDS = 5.0
RESTART_GRACE_SECONDS = 10.0


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
            stored_checkpoints(psycopg_dsn(url), partial(make_tables, engine))
        )
        if not await checkpoints_stand(connected):
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
            open_client(trust, StackTransport(checked, ssl_context=trust))
        )
        told = await stack.enter_async_context(open_client(trust))

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
            open_client(trust, StackTransport(checked, ssl_context=trust))
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
        places = Places(
            settings.smart_support_turns_at_once,
            settings.smart_support_turns_waiting,
            wait=settings.smart_support_turn_wait,
        )
        await stack.enter_async_context(_task(places.watch(), "places", errors))
        derivation = Derivation(
            event_log,
            [tracker, recorder, troubles],
            errors,
            settle=recorder.settle,
            late=lambda: places.late,
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
            hooks = await stack.enter_async_context(open_client(trust))
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
            credential_check=credential_check(
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
            ask_model=asker(settings, model) if advises(settings) else None,
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
