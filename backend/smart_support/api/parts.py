"""What the routes work with, put together by the application."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import httpx
from fastapi import Depends
from starlette.requests import HTTPConnection

from smart_support.agent.agents import LiveAgents
from smart_support.analytics.records import AnalyticsRecorder
from smart_support.api.sockets import Sockets
from smart_support.chat.derive import Derivation
from smart_support.chat.desk import Desk
from smart_support.chat.follow import Followers
from smart_support.chat.turn import TurnRunner
from smart_support.conversations.lifecycle import ConversationTracker
from smart_support.conversations.postgres import PostgresConversations
from smart_support.events.postgres import PostgresEventLog
from smart_support.identity.tokens import Tokens
from smart_support.ledger.postgres import PostgresLedger
from smart_support.operations.postgres import PostgresOperations
from smart_support.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The running product behind the edge."""

    settings: Settings
    tokens: Tokens
    conversations: PostgresConversations
    tracker: ConversationTracker
    recorder: AnalyticsRecorder
    derivation: Derivation
    log: PostgresEventLog
    ledger: PostgresLedger
    operations: PostgresOperations
    agents: LiveAgents
    runner: TurnRunner
    desk: Desk
    followers: Followers
    sockets: Sockets
    documents: httpx.AsyncClient
    """Fetches OpenAPI documents."""
    check_writable: Callable[[], Awaitable[None]]
    check_model: Callable[[float], Awaitable[None]]
    """Within so many seconds."""
    revision: str | None
    """The newest migration that the database had at the start."""
    offline_model: bool
    model_name: str
    hello_seconds: float
    """How long a socket may stay silent before it says who it is."""
    act_seconds: float
    """How long what a frame asks for may take, before it is answered that it did not work."""
    clock: Callable[[], datetime]


def parts_of(connection: HTTPConnection) -> Parts:
    """The parts of the application that serves this request or socket."""
    parts: Parts = connection.app.state.parts
    return parts


Running = Annotated[Parts, Depends(parts_of)]
