"""What the routes work with, put together by the application."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import httpx
from fastapi import Depends
from starlette.requests import HTTPConnection

from smart_support.agent.agents import LiveAgents
from smart_support.analytics.outside_postgres import OutsideErrors
from smart_support.analytics.records import AnalyticsRecorder
from smart_support.analytics.troubles_postgres import PostgresTroubles
from smart_support.api.sockets import Sockets
from smart_support.chat.calls import CallRecovery
from smart_support.chat.derive import Derivation
from smart_support.chat.desk import Desk
from smart_support.chat.follow import Followers
from smart_support.chat.peers import Peers
from smart_support.chat.turn import TurnRunner
from smart_support.conversations.interrupted_postgres import PostgresInterruptions
from smart_support.conversations.postgres import (
    PostgresConversations,
    PostgresConversationTracker,
)
from smart_support.events.postgres import PostgresEventLog
from smart_support.identity.sign_ins import SignIns
from smart_support.identity.tokens import Tokens
from smart_support.ledger.postgres import PostgresLedger
from smart_support.ledger.stops_postgres import PostgresStops
from smart_support.operations.advice import Ask
from smart_support.operations.importing import Imports
from smart_support.operations.postgres import PostgresOperations
from smart_support.resilience.upstream import Upstreams
from smart_support.security.audit_postgres import PostgresAudit
from smart_support.security.credentials_postgres import PostgresCredentials
from smart_support.settings import Settings
from smart_support.telemetry.handler import ErrorHandler
from smart_support.telemetry.watch import Watch
from smart_support.tools.credential_check import CredentialCheck
from smart_support.tools.keyring import Keyring
from smart_support.tools.oauth import OAuth


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The running product behind the edge."""

    settings: Settings
    tokens: Tokens
    conversations: PostgresConversations
    interruptions: PostgresInterruptions
    tracker: PostgresConversationTracker
    recorder: AnalyticsRecorder
    troubles: PostgresTroubles
    outside: OutsideErrors
    derivation: Derivation
    log: PostgresEventLog
    ledger: PostgresLedger
    calls: CallRecovery
    stops: PostgresStops
    upstreams: Upstreams
    peers: Peers
    """What the other processes say of APIs."""
    operations: PostgresOperations
    audit: PostgresAudit
    sign_ins: SignIns
    credentials: PostgresCredentials
    oauth: OAuth
    keyring: Keyring
    credential_check: CredentialCheck
    agents: LiveAgents
    runner: TurnRunner
    desk: Desk
    followers: Followers
    sockets: Sockets
    documents: httpx.AsyncClient
    """Fetches OpenAPI documents."""
    imports: Imports = field(default_factory=Imports)
    check_writable: Callable[[], Awaitable[None]]
    database_heard: Callable[[], float]
    """When the database answered anybody last, by the clock of `time.monotonic`."""
    check_model: Callable[[float], Awaitable[None]]
    """Within so many seconds."""
    model_replaced: Callable[[], str | None]
    """Why a stand-by is asked in place of the configured model; None if none is."""
    ask_model: Ask | None = None
    """Asks the model about imported operations; None: that is off."""
    revision: str | None
    """The newest migration that the database had at the start."""
    offline_model: bool
    model_name: str
    hello_seconds: float
    """How long a socket may stay silent before it says who it is."""
    act_seconds: float
    """How long what a frame asks for may take, before it is answered that it did not work."""
    clock: Callable[[], datetime]
    watch: Watch
    """The monitor and the alerts."""
    errors: ErrorHandler = field(default_factory=ErrorHandler)
    """Every error of this application goes through it."""


def parts_of(connection: HTTPConnection) -> Parts:
    """The parts of the application that serves this request or socket."""
    parts: Parts = connection.app.state.parts
    return parts


async def _running(connection: HTTPConnection) -> Parts:
    # A dependency that is no coroutine is called in a thread, which costs more than most answers.
    return parts_of(connection)


Running = Annotated[Parts, Depends(_running)]
